"""A study directory read back: `study.json`, one record per trial, and the rungs they make up."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import pathlib
from typing import Any

import numpy as np

from rec_sparse import config as config_lib
from rec_sparse import schema as schema_lib

FORMAT_VERSION = 1
STATUSES = ('finished', 'diverged', 'failed')
METRICS = ('valid_logloss', 'valid_auc', 'test_logloss', 'test_auc')
COUNTS = ('dense_params', 'dense_params_nonzero', 'embedding_params', 'flops_per_example')
STUDY_KEYS = (
  'format_version',
  'data',
  'data_fingerprint',
  'arms',
  'widths',
  'depths',
  'views',
  'learning_rates',
  'seeds',
  'epochs',
  'teacher',
  'test_base_rate',
  'trials',
  'commands',
)
# entries of STUDY_KEYS that are lists -> what of
LISTS = {
  'arms': str,
  'trials': str,
  'commands': str,
  'widths': int,
  'depths': int,
  'views': int,
  'seeds': int,
  'learning_rates': int | float,
}
# config fields that a sweep may turn
AXES = (
  'model',
  'width',
  'depth',
  'views',
  'seed',
  'learning_rate',
)


@dataclasses.dataclass(frozen=True)
class Trial:
  """One training run of the study, as its record tells it."""

  run_id: str  # SHA-256 of its resolved config
  arm: str  # architecture under comparison
  width: int  # scale knob
  depth: int  # scale knob
  views: int  # scale knob; multi-view arms only
  seed: int  # initialization, data order and masks
  learning_rate: float  # one of the study's grid
  status: str  # finished, diverged or failed
  error: str  # why it did not finish; '' if it did
  counts: Mapping[str, float]  # COUNTS; empty if not finished
  metrics: Mapping[str, float]  # METRICS: nats and areas (nan: one class); empty if not finished
  config: Mapping[str, object]  # resolved config, as written
  device: str  # where it ran, in words
  versions: Mapping[str, str]  # libraries it ran with
  wall_seconds: float | None  # duration


@dataclasses.dataclass(frozen=True)
class Study:
  """What was asked (`study.json`) and what has come back (`trials/`)."""

  directory: pathlib.Path  # the study directory
  data: str  # dataset directory the trials trained on
  data_fingerprint: str  # SHA-256 of that data set
  arms: tuple[str, ...]  # in the order of the comparison; the first is the reference
  learning_rates: tuple[float, ...]  # the grid every rung of every arm was given
  seeds: tuple[int, ...]  # the seeds every rung of every arm was given
  epochs: int  # passes over the training split
  teacher: schema_lib.Teacher | None  # irreducible log loss and AUC, expected; synthetic data only
  realised: float | None  # log loss of the teacher's own probabilities on the test rows, if known
  test_base_rate: float | None  # share of positive labels in the test split
  expected: tuple[str, ...]  # run ids of the whole grid
  trials: tuple[Trial, ...]  # recorded trials of the grid, in its order
  # run ids recorded in the directory that are not of this grid: left out
  strangers: tuple[str, ...]
  settings: Mapping[str, object]  # study.json as written


@dataclasses.dataclass(frozen=True)
class Rung:
  """One size of one arm, judged at the learning rate that its validation log loss chose."""

  arm: str  # architecture under comparison
  width: int  # scale knob
  depth: int  # scale knob
  views: int  # scale knob
  flops: float  # forward FLOPs per example, kept connections only
  nonzero: float  # non-zero dense parameters
  dense_params: float  # dense parameters, zeros included
  embedding_params: float  # parameters of the table
  learning_rate: float  # best mean validation log loss over seeds
  # 'lowest' or 'highest' of the rates with an outcome, 'only' one rate in the grid, '' if bracketed
  edge: str
  full_grid: bool  # every learning rate and seed of the study has a record at this rung
  seeds: tuple[int, ...]  # seeds that finished at this learning rate, ascending
  run_ids: tuple[str, ...]  # of their trials, in the order of `seeds`
  metrics: Mapping[str, np.ndarray]  # METRICS -> one value per seed, in the order of `seeds`

  @property
  def name(self) -> str:
    """Short name within the arm, such as w64 d2 or w64 d2 v8."""
    return f'w{self.width} d{self.depth}' + (f' v{self.views}' if self.views > 1 else '')


def read_study(directory: pathlib.Path | str) -> Study:
  """Reads a study, finished or not.

  Raises ValueError, naming the file, when `study.json` is missing or not a study, or a trial record
  is damaged.
  """
  directory = pathlib.Path(directory)
  path = directory / 'study.json'
  if not path.is_file():
    raise ValueError(f'{path}: not found; is --study a study directory made by launch.sweep?')
  raw = schema_lib.read_json(path)
  missing = [key for key in STUDY_KEYS if key not in raw]
  if missing:
    raise ValueError(f'{path}: not a study that launch.sweep wrote (no {missing[0]!r})')
  if raw['format_version'] != FORMAT_VERSION:
    raise ValueError(
      f'{path}: format_version is {raw["format_version"]!r}, this program reads {FORMAT_VERSION}'
    )
  trials = {p.stem: read_trial(p) for p in sorted((directory / 'trials').glob('*.json'))}
  _check_entries(path, raw)
  try:
    return Study(
      directory=directory,
      data=str(raw['data']),
      data_fingerprint=str(raw['data_fingerprint']),
      arms=tuple(map(str, raw['arms'])),
      learning_rates=tuple(map(float, raw['learning_rates'])),
      seeds=tuple(map(int, raw['seeds'])),
      epochs=int(raw['epochs']),
      teacher=raw['teacher']
      and schema_lib.Teacher(*(float(raw['teacher'][key]) for key in ('logloss', 'auc'))),
      realised=None if raw.get('realised_logloss') is None else float(raw['realised_logloss']),
      test_base_rate=None if raw['test_base_rate'] is None else float(raw['test_base_rate']),
      expected=tuple(raw['trials']),
      trials=tuple(trials[k] for k in raw['trials'] if k in trials),
      strangers=tuple(sorted(set(trials) - set(raw['trials']))),
      settings=raw,
    )
  except (KeyError, TypeError, ValueError, AttributeError) as e:
    raise ValueError(f'{path}: not a study that launch.sweep wrote ({e})') from None


def _check_entries(path: pathlib.Path, raw: dict[str, Any]) -> None:
  """Raises ValueError naming the first list, or the recipes, of `study.json` that are something
  else.
  """
  wrong = [
    key
    for key, kind in LISTS.items()
    if not isinstance(raw[key], list) or not all(isinstance(value, kind) for value in raw[key])
  ]
  recipes_ = raw.get('recipes', {})  # studies of older versions have none
  if not isinstance(recipes_, dict) or not all(isinstance(own, dict) for own in recipes_.values()):
    wrong.append('recipes')
  if wrong:
    raise ValueError(
      f'{path}: not a study that launch.sweep wrote ({wrong[0]} is {raw[wrong[0]]!r:.60})'
    )


def rungs_by_arm(study: Study) -> dict[str, tuple[Rung, ...]]:
  """The rungs of each arm of the study, by ascending forward FLOPs; rungs where nothing finished
  are absent.

  Raises ValueError, naming the study and the fields, when the trials of an arm differ in more than
  its axes.
  """
  recipes(study)
  shapes = {}
  for trial in study.trials:
    shapes.setdefault((trial.arm, trial.width, trial.depth, trial.views), []).append(trial)
  rungs = [
    _rung(study, trials)
    for trials in shapes.values()
    if any(t.status == 'finished' for t in trials)
  ]
  rungs.sort(key=lambda r: (r.flops, r.nonzero, r.depth, r.width, r.views))
  return {arm: tuple(r for r in rungs if r.arm == arm) for arm in study.arms}


def recipes(study: Study) -> dict[str, dict[str, Any]]:
  """The recipe of each arm that has a recorded trial; raises ValueError when the trials of an arm
  have several.
  """
  found = {}
  for trial in study.trials:
    own = recipe(trial.config)
    differ = config_lib.differing(own, found.setdefault(trial.arm, own))
    if differ:
      raise ValueError(
        f'{study.directory}: trials of {trial.arm} differ in {", ".join(differ)}, so they are no rungs '
        'of one curve; each recipe needs a study of its own'
      )
  return found


def recipe(config: Mapping[str, Any]) -> dict[str, Any]:
  """What no axis turns: the fields of a config, as JSON has it, that all trials of an arm share."""
  return {name: value for name, value in config_lib.flat(dict(config)).items() if name not in AXES}


def paired(rungs: Sequence[Rung], metric: str) -> tuple[tuple[int, ...], np.ndarray]:
  """Seeds that every one of these rungs finished, and the metric as y_RxS in that order."""
  seeds = tuple(sorted(set.intersection(*(set(r.seeds) for r in rungs)))) if rungs else ()
  rows = [[r.metrics[metric][r.seeds.index(seed)] for seed in seeds] for r in rungs]
  return seeds, np.array(rows).reshape(len(rungs), len(seeds))


def choose_learning_rate(trials: Sequence[Trial]) -> float:
  """The rate with the best mean validation log loss, among the rates at which the most seeds
  finished.

  Validation alone decides (design, section 5). A rate that lost a seed to divergence does not
  compete with one that kept them all: its mean would be over the lucky seeds.
  """
  finished = {}
  for trial in trials:
    if trial.status == 'finished':
      finished.setdefault(trial.learning_rate, []).append(trial.metrics['valid_logloss'])
  most = max(map(len, finished.values()))
  rates = sorted(rate for rate in finished if len(finished[rate]) == most)
  return min(rates, key=lambda rate: np.mean(finished[rate]))


def _rung(study: Study, trials: Sequence[Trial]) -> Rung:
  rate = choose_learning_rate(trials)
  chosen = sorted(
    (t for t in trials if t.learning_rate == rate and t.status == 'finished'), key=lambda t: t.seed
  )
  first = chosen[0]
  return Rung(
    arm=first.arm,
    width=first.width,
    depth=first.depth,
    views=first.views,
    flops=first.counts['flops_per_example'],
    nonzero=first.counts['dense_params_nonzero'],
    dense_params=first.counts['dense_params'],
    embedding_params=first.counts['embedding_params'],
    learning_rate=rate,
    edge=edge(study.learning_rates, trials, rate),
    full_grid=len({(t.learning_rate, t.seed) for t in trials})
    == len(study.learning_rates) * len(study.seeds),
    seeds=tuple(t.seed for t in chosen),
    run_ids=tuple(t.run_id for t in chosen),
    metrics={m: np.array([t.metrics[m] for t in chosen]) for m in METRICS},
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
      counts={key: _number(raw, key, key != 'embedding_params') for key in COUNTS}
      if finished
      else {},
      metrics={key: _metric(raw, key) for key in METRICS} if finished else {},
      config=config,
      device=str(raw.get('device') or ''),
      versions=dict(raw.get('versions') or {}),
      wall_seconds=raw.get('wall_seconds'),
    )
  except KeyError as e:
    raise ValueError(f'{path}: damaged trial record (no {e})') from None
  except (TypeError, ValueError) as e:
    raise ValueError(f'{path}: damaged trial record ({e})') from None


def _metric(raw: dict, key: str) -> float:
  """A log loss, or an AUC: null in the file, nan here,
  where labels of one class leave it undefined.
  """
  return math.nan if key.endswith('auc') and raw[key] is None else _number(raw, key)


def _number(raw: dict, key: str, positive: bool = False) -> float:
  value = raw[key]
  if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
    raise ValueError(f'{key} is {value!r}, not a finite number')
  if positive and value <= 0:
    raise ValueError(f'{key} is {value!r}, not a positive number')
  return float(value)
