"""Runs the missing trials of a study directory, a shape at a time; one atomic JSON per trial."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import pathlib
import time
from typing import NamedTuple

import numpy as np

from data_pipelines import blocks
from rec_sparse import config as config_lib
from rec_sparse import record
from rec_sparse import schema as schema_lib
from rec_sparse import train
from rec_sparse import whole_file
from rec_sparse.runs import evaluation
from rec_sparse.runs import memory
from rec_sparse.runs import metrics_log
from rec_sparse.runs import partial
from rec_sparse.runs import stopping
from rec_sparse.runs import timetable
from rec_sparse.runs import trials
from rec_sparse.runs.observer import SweepObserver
from rec_sparse.runs.standing import Standing
from rec_sparse.scaling import grid as grid_lib
from rec_sparse.scaling import study as study_lib
from rec_sparse.scaling.study import Directory
from rec_sparse.scaling.study import Planned
from rec_sparse.scaling.study import Study


@dataclasses.dataclass(frozen=True)
class Left:
  """What a call of `run_missing` did not do."""

  interrupted: bool  # a signal came
  too_large: dict[config_lib.Config, str]  # trials that memory does not hold alone -> what it said


class Data(NamedTuple):
  """A data set that trials are trained on."""

  directory: pathlib.Path
  schema: schema_lib.FeatureSchema


def run_studies(
  data: Data,
  out: pathlib.Path,
  planned: Sequence[tuple[Study, grid_lib.Trials]],
  command: str,
  grows: bool,
  observer: SweepObserver | None = None,
  others: Sequence[Data] = (),
) -> Left:
  """Trains what `out` does not hold yet of these studies -> what is left to do.

  `others` are the data sets of arms that are not on `data`; their test rows are the same.
  A study that `out` knows by name becomes what it says now or, where it `grows`, what both say.
  A trial that arms or studies share is trained once. One that failed is recorded with its error and
  not tried again: delete its file for that. One that the memory did not hold is not recorded: that
  is the machine's failure, and the next call tries it again. Raises ValueError when `out` holds
  trials on other data or, where a study grows, of another recipe, or no study; when a config does
  not fit its data; and when the test labels of two data sets differ.
  """
  arms = arms_of(planned)
  datasets = {own.schema.fingerprint: own for own in (data, *others)}
  for own in others:
    check_same_rows(data, own)
  for fingerprint, own in datasets.items():
    configs = [config for config in arms if config.data_fingerprint == fingerprint]
    check(own.directory, own.schema, configs)
    for group in grid_lib.groups(configs):
      _check_filters(group[0], own.schema)
  studies = tuple(grid_lib.plan(study, configs) for study, configs in planned)
  _claim(out, _describe(data.directory, data.schema, studies, command), grows)
  return run_missing(datasets, out, arms, observer or SweepObserver())


def check_same_rows(data: Data, other: Data) -> None:
  """Raises ValueError when the test labels of two data sets differ: their trials could not be
  paired by rows.
  """
  first, second = (
    evaluation.labels(blocks.open_split(own.directory, own.schema, 'test', verify=False))[0]
    for own in (data, other)
  )
  if not np.array_equal(first, second):
    raise ValueError(
      f'{other.directory}: its test labels are not those of {data.directory}, so arms on the two '
      'cannot be compared row by row'
    )


def check(
  data: pathlib.Path, schema: schema_lib.FeatureSchema, configs: Iterable[config_lib.Config]
) -> None:
  """Raises ValueError when a batch is larger than the training split,
  or the monitored metric undefined.
  """
  for config in configs:
    timetable.of(config, schema.splits['train'].rows)
  for monitor in {config.monitor for config in configs}:
    evaluation.check_monitor(monitor, schema, data)


def run_missing(
  datasets: Mapping[str, Data],
  out: pathlib.Path,
  arms: dict[config_lib.Config, str],
  observer: SweepObserver,
) -> Left:
  """Trains the trials that have no record in `out`, or that finished but have no logits
  of the test split there, one data set (`datasets`, by fingerprint) after another.

  `arms` has the name of the arm of each, for its record. A group that does not fit the memory runs
  by halves. SIGTERM or Ctrl-C saves the running group and ends the call.
  """
  missing = {fingerprint: [] for fingerprint in datasets}
  for config in missing_of(out, arms):
    missing[config.data_fingerprint].append(config)
  steps = 0
  for fingerprint, configs in missing.items():
    rows = datasets[fingerprint].schema.splits['train'].rows
    steps += sum(timetable.of(config, rows).last for config in configs)
  too_large = {}
  if not steps:
    return Left(False, too_large)
  (out / 'trials').mkdir(parents=True, exist_ok=True)
  observer.began(steps)
  with stopping.on_signals() as stop_wanted:
    for fingerprint, configs in missing.items():
      if not configs:
        continue
      left = _run_on(datasets[fingerprint], out, arms, configs, observer, stop_wanted)
      too_large |= left.too_large
      if left.interrupted:
        return Left(True, too_large)
  return Left(False, too_large)


def _run_on(
  data: Data,
  out: pathlib.Path,
  arms: dict[config_lib.Config, str],
  missing: list[config_lib.Config],
  observer: SweepObserver,
  stop_wanted: Callable[[], bool],
) -> Left:
  """Trains the missing trials of one data set, which alone lies on the devices meanwhile."""
  too_large = {}
  waiting = _groups(out, missing)
  opened = trials.open_data(data.directory, data.schema)
  _write_array(out / 'logits' / 'labels.npy', opened.labels['test'][0])
  while waiting and not stop_wanted():
    group = waiting.pop(0)
    observer.group(group)
    begun = partial.read(out, group, data.schema)
    try:
      with _curves(out, arms, group, begun) as validated:
        found = _run_or_fail(opened, group, observer, stop_wanted, begun, validated)
    except trials.Interrupted as e:
      partial.save(out, group, e.begun)
      return Left(True, too_large)
    except _OutOfMemory as e:
      said = str(e)
    else:
      _record(out, group, found, arms)
      continue
    if len(group) > 1:  # beyond the handler: what the exception held is free again
      half = len(group) // 2
      observer.said(
        f'{config_lib.in_short(group[0])}: the memory does not hold {len(group)} trials, '
        'so half of them run first'
      )
      waiting[:0] = [group[:half], group[half:]]
      continue
    same = [own for own in waiting if config_lib.shape(own[0]) == config_lib.shape(group[0])]
    waiting = [own for own in waiting if own not in same]
    too_large |= dict.fromkeys(sum(same, group), said)
  return Left(bool(waiting), too_large)


class _OutOfMemory(Exception):
  """A group does not fit the memory; the text is what was said."""


def _run_or_fail(
  opened: trials.Resident,
  group: list[config_lib.Config],
  observer: SweepObserver,
  stop_wanted: Callable[[], bool],
  begun: trials.Begun | None,
  validated: trials.Validated,
) -> list[trials.Finished]:
  """The group's records; an exception becomes the `failed` record of each of its trials
  and the study goes on.

  Raises _OutOfMemory, and trials.Interrupted.
  """
  began = time.perf_counter()
  try:
    return trials.run_group(opened, group, observer.trained, stop_wanted, begun, validated)
  except trials.Interrupted:
    raise
  except Exception as e:  # whatever it is, the other shapes must run
    error = memory.in_words(e)
  if memory.is_full(error):
    raise _OutOfMemory(error)
  observer.said(f'{config_lib.in_short(group[0])} failed: {error}')
  seconds = (time.perf_counter() - began) / len(group)
  return [
    trials.Finished(record.failed(c, opened.schema, error, seconds), np.empty((0, 0)))
    for c in group
  ]


@contextlib.contextmanager
def _curves(
  out: pathlib.Path,
  arms: dict[config_lib.Config, str],
  group: list[config_lib.Config],
  begun: trials.Begun | None,
) -> Iterator[trials.Validated]:
  """A function that adds a validation of each trial to the curves of its own in `events/`."""
  step = begun.step if begun else 0
  with contextlib.ExitStack() as stack:
    curves = []
    for config in group:
      directory = out / 'events' / _in_short(arms[config], config)
      curves.append(stack.enter_context(metrics_log.open_events(directory, config, step)))

    def validated(standings: Sequence[Standing], results: Sequence[dict | None]) -> None:
      now = max(standing.step for standing in standings)
      for events, standing, found in zip(curves, standings, results, strict=True):
        if found and standing.step == now:  # of those that have ended nothing counts
          metrics_log.add_curves(events, {'step': now, 'split': 'valid'} | found)

    yield validated


def _in_short(arm: str, config: config_lib.Config) -> str:
  """The name of a trial in TensorBoard."""
  size = f'w{config.width}_d{config.depth}_v{config.views}'
  drawn = f'lr{config.learning_rate:g}_seed{config.seed}'
  return f'{arm}_{size}_{drawn}_{config_lib.run_id(config)[:8]}'


def _record(
  out: pathlib.Path,
  group: list[config_lib.Config],
  found: list[trials.Finished],
  arms: dict[config_lib.Config, str],
) -> None:
  for config, trial in zip(group, found, strict=True):
    if trial.record['status'] == 'finished':
      _write_array(logits_path(out, config), trial.test_logits_ExT)
    record.write_json(trial_path(out, config), trial.record | {'arm': arms[config]})
  partial.remove(out, group)


def arms_of(planned: Sequence[tuple[Study, grid_lib.Trials]]) -> dict[config_lib.Config, str]:
  """The arm of each trial; the first one, where several have it."""
  arms: dict[config_lib.Config, str] = {}
  for _, configs in planned:
    for arm, own in configs.items():
      for config in own:
        arms.setdefault(config, arm)
  return arms


def missing_of(out: pathlib.Path, configs: Iterable[config_lib.Config]) -> list[config_lib.Config]:
  """Those that a call would train."""
  return [config for config in configs if _is_missing(out, config)]


def _is_missing(out: pathlib.Path, config: config_lib.Config) -> bool:
  path = trial_path(out, config)
  if not path.exists():
    return True
  found = record.read_json(path)
  if found.get('status') == 'failed':
    return memory.is_full(str(found.get('error')))  # as older versions recorded it
  return found.get('status') == 'finished' and not logits_path(out, config).exists()


def _groups(out: pathlib.Path, missing: list[config_lib.Config]) -> list[list[config_lib.Config]]:
  """The missing trials by shape, first those of groups that were cut, as they were.

  A group that was cut and of which a trial has been recorded since is forgotten; one of other
  trials stays.
  """
  left = {config_lib.run_id(c): c for c in missing}
  cut = []
  for path in sorted((out / 'partial').glob('*.npz')):
    run_ids = partial.trials_of(path)
    if all(run_id in left for run_id in run_ids):
      cut.append([left.pop(run_id) for run_id in run_ids])
    elif any(
      run_id not in left and (out / 'trials' / f'{run_id}.json').exists() for run_id in run_ids
    ):
      path.unlink()
  return cut + grid_lib.groups(list(left.values()))


def why_too_large(left: Left) -> str:
  """One sentence on the trials that the memory did not hold: which, what was said, what to do."""
  shapes = ', '.join(dict.fromkeys(map(config_lib.in_short, left.too_large)))
  said = next(iter(left.too_large.values())).splitlines()[0][:200]
  return (
    f'the memory does not hold even one trial of {shapes} ({said}); the same command '
    'tries again: run it with more memory, or choose a smaller batch_size'
  )


def trial_path(out: pathlib.Path, config: config_lib.Config) -> pathlib.Path:
  """Where the record of a trial lies in a study directory."""
  return out / 'trials' / f'{config_lib.run_id(config)}.json'


def logits_path(out: pathlib.Path, config: config_lib.Config) -> pathlib.Path:
  """Where the logits of a trial on the test split lie: float32, rows in the order of the split."""
  return out / 'logits' / f'{config_lib.run_id(config)}.npy'


def _write_array(path: pathlib.Path, array: np.ndarray) -> None:
  path.parent.mkdir(exist_ok=True)
  with whole_file.replacing(path) as temporary, temporary.open('wb') as file:
    np.save(file, array)


def _check_filters(config: config_lib.Config, schema: schema_lib.FeatureSchema) -> None:
  """Raises ValueError when a view would keep more than there is: the schema tells, no trial has to
  fail for it.
  """
  try:
    train.draw_constants(config, schema, [config.seed])
  except ValueError as e:
    raise ValueError(f'{config.model}, {config.width} wide: {e}') from None


def _claim(out: pathlib.Path, directory: Directory, grows: bool) -> None:
  """Writes study.json, or adds to it the studies and the command."""
  path = out / 'study.json'
  if path.exists():
    directory = _joined(out, study_lib.read_directory(path), directory, grows)
  elif out.exists() and any(out.iterdir()):
    raise ValueError(f'{out}: is not empty and holds no study.json, so it is not a study directory')
  with_ladders = [planned.study.name for planned in directory.studies if planned.study.ladders]
  if len(with_ladders) > 1:
    raise ValueError(
      f'{out}: one chart is for one study, not for {" and ".join(with_ladders)}; '
      'choose another --out'
    )
  out.mkdir(parents=True, exist_ok=True)
  record.write_json(path, dataclasses.asdict(directory))


def _joined(out: pathlib.Path, old: Directory, new: Directory, grows: bool) -> Directory:
  """The studies of both; raises ValueError when they do not go together."""
  if old.data_fingerprint != new.data_fingerprint:
    raise ValueError(f'{out}: holds trials on another data set; choose another --out')
  studies = {planned.study.name: planned for planned in old.studies}
  for planned in new.studies:
    name = planned.study.name
    if grows and name in studies:
      try:
        planned = study_lib.grow(studies[name], planned)
      except ValueError as e:
        raise ValueError(f'{out}: {e}; choose another --out') from None
    studies[name] = planned
  commands = tuple(dict.fromkeys(old.commands + new.commands))
  return dataclasses.replace(new, commands=commands, studies=tuple(studies.values()))


def _describe(
  data: pathlib.Path,
  schema: schema_lib.FeatureSchema,
  studies: tuple[Planned, ...],
  command: str,
) -> Directory:
  test = schema.splits['test']
  return Directory(
    format_version=study_lib.FORMAT_VERSION,
    data=str(data),
    data_fingerprint=schema.fingerprint,
    teacher=schema.teacher,
    realised_logloss=schema.source.get('realised_logloss', {}).get('test'),
    test_base_rate=test.positives[0] / test.rows if len(schema.tasks) == 1 else None,
    commands=(command,),
    studies=studies,
  )
