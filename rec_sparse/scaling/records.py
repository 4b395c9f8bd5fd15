"""What came back of a study: one record per trial, and the rungs they make up."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import pathlib
from typing import Any

import numpy as np

from rec_sparse import config as config_lib
from rec_sparse import schema as schema_lib
from rec_sparse.scaling.study import Arm
from rec_sparse.scaling.study import Directory
from rec_sparse.scaling.study import read_directory
from rec_sparse.scaling.study import Study

STATUSES = ('finished', 'diverged', 'failed')
METRICS = ('valid_logloss', 'valid_auc', 'test_logloss', 'test_auc')
COUNTS = (
  'dense_params',
  'dense_params_nonzero',
  'embedding_params',
  'embedding_params_nonzero',
  'flops_per_example',
)
KNOBS = ('width', 'depth', 'views')  # of every rung, whatever else its arm's scale turns
LETTERS = {'width': 'w', 'depth': 'd', 'views': 'v'}  # in short names of rungs


@dataclasses.dataclass(frozen=True)
class Trial:
  """One training run of the study, as its record tells it."""

  run_id: str  # SHA-256 of its resolved config
  arm: str  # its arm in the study; of a record, the arm that it was trained for
  width: int  # scale knob
  depth: int  # scale knob
  views: int  # scale knob; multi-view arms only
  seed: int  # initialization, data order and masks
  learning_rate: float  # one of the study's grid
  status: str  # finished, diverged or failed
  error: str  # why it did not finish; '' if it did
  counts: Mapping[str, float]  # COUNTS; empty if not finished
  # METRICS, GAUC where there are groups, and such as test_auc:buy where there are several tasks:
  # nats and areas (nan: one class); empty if not finished
  metrics: Mapping[str, float]
  config: Mapping[str, object]  # resolved config, as written
  device: str  # where it ran, in words
  versions: Mapping[str, str]  # libraries it ran with
  wall_seconds: float | None  # duration


@dataclasses.dataclass(frozen=True)
class Results:
  """A study of a directory, and what has come back of it."""

  directory: pathlib.Path  # the study directory
  about: Directory  # `study.json`: the data, and the commands
  study: Study  # what was asked; the first arm of a comparison is the reference
  listing: Mapping[str, tuple[str, ...]]  # arm -> run ids of all its trials
  trials: tuple[Trial, ...]  # recorded ones, arm by arm; one that two arms share stands twice
  strangers: tuple[str, ...]  # run ids recorded in the directory that no study of it asks for

  @property
  def expected(self) -> int:
    """Trials that were asked for."""
    return len({run_id for own in self.listing.values() for run_id in own})

  @property
  def recorded(self) -> int:
    """Trials that have a record."""
    return len({trial.run_id for trial in self.trials})

  @property
  def missing(self) -> int:
    """Trials that have none yet."""
    return self.expected - self.recorded

  @property
  def epochs(self) -> int:
    """Most passes over the training split of any trial."""
    return max((int(t.config.get('epochs', 1)) for t in self.trials), default=1)


@dataclasses.dataclass(frozen=True)
class Rung:
  """One size of one arm, judged at the learning rate that its validation log loss chose."""

  arm: str  # its arm
  scale: Mapping[str, Any]  # KNOBS and what else the arm's scale turns -> its value
  shape: str  # all that the scale turns beside the axis that a curve follows, in short
  flops: float  # forward FLOPs per example, kept connections only
  nonzero: float  # non-zero dense parameters
  dense_params: float  # dense parameters, zeros included
  embedding_params: float  # parameters of the table
  embedding_nonzero: float  # those that a mask keeps
  learning_rate: float  # best mean validation log loss over seeds
  # 'lowest' or 'highest' of the rates with an outcome, 'only' one rate in the grid, '' if bracketed
  edge: str
  full_grid: bool  # every learning rate and seed of the study has a record at this rung
  seeds: tuple[int, ...]  # seeds that finished at this learning rate, ascending
  run_ids: tuple[str, ...]  # of their trials, in the order of `seeds`
  metrics: Mapping[str, np.ndarray]  # as in Trial -> one value per seed, in the order of `seeds`

  @property
  def name(self) -> str:
    """Short name within the arm, such as w64 d2, w64 d2 v8 or w64 d2 iterations=3."""
    return in_short(self.scale)


def in_short(scale: Mapping[str, Any]) -> str:
  """'w64 d2 v8'; a single view is left out."""
  named = {axis: value for axis, value in scale.items() if (axis, value) != ('views', 1)}
  return ' '.join(f'{LETTERS.get(axis, axis + "=")}{value}' for axis, value in named.items())


def read_results(directory: pathlib.Path | str) -> tuple[Results, ...]:
  """Reads the studies of a directory, finished or not.

  Raises ValueError, naming the file, when `study.json` is missing or not a study, or a trial record
  is damaged.
  """
  directory = pathlib.Path(directory)
  about = read_directory(directory / 'study.json')
  recorded = {p.stem: read_trial(p) for p in sorted((directory / 'trials').glob('*.json'))}
  strangers = set(recorded)
  for planned in about.studies:
    strangers -= {run_id for own in planned.trials.values() for run_id in own}

  results = []
  for planned in about.studies:
    trials = [
      dataclasses.replace(recorded[run_id], arm=arm.name)
      for arm in planned.study.arms
      for run_id in planned.trials[arm.name]
      if run_id in recorded
    ]
    results.append(
      Results(
        directory=directory,
        about=about,
        study=planned.study,
        listing=planned.trials,
        trials=tuple(trials),
        strangers=tuple(sorted(strangers)),
      )
    )
  return tuple(results)


def only(results: Results, arms: Sequence[Arm]) -> Results:
  """What has come back of these arms alone."""
  names = {arm.name for arm in arms}
  return dataclasses.replace(
    results,
    study=dataclasses.replace(results.study, arms=tuple(arms)),
    listing={name: own for name, own in results.listing.items() if name in names},
    trials=tuple(t for t in results.trials if t.arm in names),
  )


def rungs_by_arm(results: Results) -> dict[str, tuple[Rung, ...]]:
  """The rungs of each arm with a ladder, by ascending forward FLOPs; rungs where nothing finished
  are absent.

  Raises ValueError, naming the study and the fields, when the trials of an arm differ in more than
  its axes.
  """
  by_arm = {}
  for arm in results.study.ladders:
    trials = [t for t in results.trials if t.arm == arm.name]
    _check_recipe(results, arm, trials)
    sizes: dict[tuple, list[Trial]] = {}
    for trial in trials:
      sizes.setdefault(tuple(scale_of(arm, trial).values()), []).append(trial)
    rungs = [
      _rung(results.study, arm, own)
      for own in sizes.values()
      if any(t.status == 'finished' for t in own)
    ]
    by_arm[arm.name] = tuple(sorted(rungs, key=_order))
  return by_arm


def _order(rung: Rung) -> tuple:
  knobs = rung.scale
  return rung.flops, rung.nonzero, knobs['depth'], knobs['width'], knobs['views']


def _check_recipe(results: Results, arm: Arm, trials: Sequence[Trial]) -> None:
  for trial in trials:
    first, own = (config_lib.flat(dict(t.config)) for t in (trials[0], trial))
    differ = set(config_lib.differing(first, own))
    differ -= {*KNOBS, *arm.scale, 'seed', 'learning_rate'}
    if differ:
      raise ValueError(
        f'{results.directory}: trials of {arm.name} differ in {", ".join(sorted(differ))}, '
        'so they are no rungs of one curve; each recipe needs an arm of its own'
      )


def scale_of(arm: Arm, trial: Trial) -> dict[str, Any]:
  """KNOBS, and what else the arm's scale turns -> the value of a trial."""
  fields = config_lib.flat(dict(trial.config))
  scale = {axis: getattr(trial, axis) for axis in KNOBS}
  for axis in arm.scale:
    value = scale.get(axis, fields.get(axis))
    scale[axis] = tuple(value) if isinstance(value, list) else value
  return scale


def _shape(arm: Arm, scale: Mapping[str, Any]) -> str:
  """The scale of a rung beside the axis that a curve follows: the arm's first of several values."""
  turned = [axis for axis, values in arm.scale.items() if len(values) > 1]
  return in_short({axis: scale[axis] for axis in turned[1:]})


def paired(rungs: Sequence[Rung], metric: str) -> tuple[tuple[int, ...], np.ndarray]:
  """Seeds that every one of these rungs finished, and the metric as y_PxS in that order."""
  seeds = tuple(sorted(set.intersection(*(set(r.seeds) for r in rungs)))) if rungs else ()
  rows = [[r.metrics[metric][r.seeds.index(seed)] for seed in seeds] for r in rungs]
  return seeds, np.array(rows).reshape(len(rungs), len(seeds))


def choose_learning_rate(trials: Sequence[Trial]) -> float:
  """The rate with the best mean validation log loss, among the rates at which the most seeds
  finished.

  Validation alone decides. A rate that lost a seed to divergence does not
  compete with one that kept them all: its mean would be over the lucky seeds.
  """
  finished = {}
  for trial in trials:
    if trial.status == 'finished':
      finished.setdefault(trial.learning_rate, []).append(trial.metrics['valid_logloss'])
  most = max(map(len, finished.values()))
  rates = sorted(rate for rate in finished if len(finished[rate]) == most)
  return min(rates, key=lambda rate: np.mean(finished[rate]))


def _rung(study: Study, arm: Arm, trials: Sequence[Trial]) -> Rung:
  rate = choose_learning_rate(trials)
  chosen = sorted(
    (t for t in trials if t.learning_rate == rate and t.status == 'finished'), key=lambda t: t.seed
  )
  first = chosen[0]
  scale = scale_of(arm, first)
  tried = {(t.learning_rate, t.seed) for t in trials}
  return Rung(
    arm=arm.name,
    scale=scale,
    shape=_shape(arm, scale),
    flops=first.counts['flops_per_example'],
    nonzero=first.counts['dense_params_nonzero'],
    dense_params=first.counts['dense_params'],
    embedding_params=first.counts['embedding_params'],
    embedding_nonzero=first.counts['embedding_params_nonzero'],
    learning_rate=rate,
    edge=edge(study.learning_rates, trials, rate),
    full_grid=len(tried) == len(study.learning_rates) * len(study.seeds),
    seeds=tuple(t.seed for t in chosen),
    run_ids=tuple(t.run_id for t in chosen),
    metrics={m: np.array([t.metrics[m] for t in chosen]) for m in shared_metrics(chosen)},
  )


def edge(learning_rates: Sequence[float], trials: Sequence[Trial], rate: float) -> str:
  """Whether `rate` lies at an edge of the grid: 'lowest', 'highest', 'only', or ''.

  Divergence brackets a rate from above; a failed or missing neighbour tells nothing.
  """
  outcomes = {t.learning_rate for t in trials if t.status != 'failed'}
  if len(learning_rates) == 1:
    return 'only'
  return 'lowest' if rate == min(outcomes) else 'highest' if rate == max(outcomes) else ''


def read_trial(path: pathlib.Path) -> Trial:
  """Reads one trial record; raises ValueError naming the file when it is damaged."""
  raw = schema_lib.read_json(path)
  try:
    if raw['status'] not in STATUSES:
      raise ValueError(f'status is {raw["status"]!r}, not one of {", ".join(STATUSES)}')
    if raw['run_id'] != path.stem:
      raise ValueError(f'run_id is {raw["run_id"]!r}, not the name of the file')
    finished = raw['status'] == 'finished'
    config = dict(raw.get('config') or {})
    if not isinstance(config.get('options', {}), dict):
      raise ValueError('config.options is no object')
    return Trial(
      run_id=raw['run_id'],
      arm=str(raw['arm']),
      width=int(raw['width']),
      depth=int(raw['depth']),
      views=int(raw['views'] or 1),
      seed=int(raw['seed']),
      learning_rate=float(raw['learning_rate']),
      status=raw['status'],
      error='' if finished else str(raw.get('error') or ''),
      counts=_counts(raw) if finished else {},
      metrics=_metrics(raw) if finished else {},
      config=config,
      device=str(raw.get('device') or ''),
      versions=dict(raw.get('versions') or {}),
      wall_seconds=raw.get('wall_seconds'),
    )
  except KeyError as e:
    raise ValueError(f'{path}: damaged trial record (no {e})') from None
  except (TypeError, ValueError) as e:
    raise ValueError(f'{path}: damaged trial record ({e})') from None


def _counts(raw: dict) -> dict[str, float]:
  """COUNTS; a record from before tables had masks keeps all of its table."""
  raw = {'embedding_params_nonzero': raw['embedding_params']} | raw
  return {key: _number(raw, key, not key.startswith('embedding_params')) for key in COUNTS}


def _metrics(raw: dict) -> dict[str, float]:
  found = {key: _metric(raw, key) for key in METRICS}
  for split in ('valid', 'test'):
    found |= {key: _metric(raw, key) for key in raw if key.startswith(f'{split}_gauc')}
    for task, own in raw.get(f'{split}_tasks', {}).items():
      found |= {f'{split}_{name}:{task}': _metric(own, name) for name in own}
  return found


def shared_metrics(trials: Sequence[Trial]) -> tuple[str, ...]:
  """The metrics that all of these trials have, METRICS first."""
  return tuple(name for name in trials[0].metrics if all(name in t.metrics for t in trials))


def _metric(raw: dict, key: str) -> float:
  """A log loss, or an area: null in the file, nan here, where labels leave it undefined."""
  return math.nan if 'auc' in key and raw[key] is None else _number(raw, key)


def _number(raw: dict, key: str, positive: bool = False) -> float:
  value = raw[key]
  if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
    raise ValueError(f'{key} is {value!r}, not a finite number')
  if positive and value <= 0:
    raise ValueError(f'{key} is {value!r}, not a positive number')
  return float(value)
