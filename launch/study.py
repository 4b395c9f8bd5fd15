"""Runs the missing trials of a study directory, a shape at a time; one atomic JSON per trial."""

import dataclasses
import pathlib
import time
from typing import Any

import numpy as np
import tqdm

from data_pipelines import order
from launch import trials
from rec_sparse import config as config_lib
from rec_sparse import record
from rec_sparse import schema as schema_lib
from rec_sparse import train
from rec_sparse.scaling import grid as grid_lib
from rec_sparse.scaling import records


def run_study(data: pathlib.Path, schema: schema_lib.FeatureSchema, out: pathlib.Path, grid: grid_lib.Grid,
              configs: list[config_lib.Config], command: str) -> int:
  """Trains what `out` does not hold yet -> number of trials recorded as failed.

  A trial that failed is recorded with its error and not tried again: delete its file for that.
  Raises ValueError when `out` is a study of other data or other recipes, or not a study, and when a config does not
  fit the data.
  """
  for config in configs:
    order.steps_per_epoch(schema.splits['train'].rows, config.batch_size)
  for group in grid_lib.groups(configs):
    _check_filters(group[0], schema)
  _claim(out, _describe(data, schema, grid, configs, command))
  run_missing(data, schema, out, configs)
  return sum('"status": "failed"' in trial_path(out, c).read_text() for c in configs)


def run_missing(data: pathlib.Path, schema: schema_lib.FeatureSchema, out: pathlib.Path,
                configs: list[config_lib.Config], keep_logits: bool = False) -> None:
  """Trains the trials that have no record in `out`; `keep_logits`: or no logits of the test split beside it."""
  missing = [c for c in configs if not trial_path(out, c).exists()
             or keep_logits and _finished(out, c) and not logits_path(out, c).exists()]
  if not missing:
    return
  (out / 'trials').mkdir(parents=True, exist_ok=True)
  opened = trials.open_study(data, schema)
  rows = schema.splits['train'].rows
  steps = lambda config: config.epochs * order.steps_per_epoch(rows, config.batch_size)
  with tqdm.tqdm(total=sum(map(steps, missing)), unit='step', mininterval=1.0) as bar:
    for group in grid_lib.groups(missing):
      bar.set_description(f'{group[0].model} {group[0].width}x{group[0].depth}, {len(group)} trials')
      for config, found in zip(group, _run_or_record(opened, group, bar), strict=True):
        if keep_logits and found.record['status'] == 'finished':
          _write_logits(logits_path(out, config), found.test_logits_NxT)
        record.write_json(trial_path(out, config), found.record)


def trial_path(out: pathlib.Path, config: config_lib.Config) -> pathlib.Path:
  """Where the record of a trial lies in a study directory."""
  return out / 'trials' / f'{config_lib.run_id(config)}.json'


def logits_path(out: pathlib.Path, config: config_lib.Config) -> pathlib.Path:
  """Where the logits of a trial on the test split lie: float32, rows in the order of the split."""
  return out / 'logits' / f'{config_lib.run_id(config)}.npy'


def _finished(out: pathlib.Path, config: config_lib.Config) -> bool:
  return '"status": "finished"' in trial_path(out, config).read_text()


def _write_logits(path: pathlib.Path, logits_NxT: np.ndarray) -> None:
  path.parent.mkdir(exist_ok=True)
  with record.replacing(path) as temporary, temporary.open('wb') as file:
    np.save(file, logits_NxT)


def _run_or_record(opened: trials.Study, group: list[config_lib.Config], bar: tqdm.tqdm) -> list[trials.Finished]:
  """The group's records; an exception becomes the `failed` record of each of its trials and the study goes on.

  Trials that do not fit the memory together run by halves.
  """
  began, shape = time.perf_counter(), f'{group[0].model} {group[0].width}x{group[0].depth}'
  try:
    return trials.run_group(opened, group, bar.update)
  except Exception as e:  # whatever it is, the other shapes must run
    error = f'{type(e).__name__}: {e}'
  half = len(group) // 2  # beyond the handler: what the exception held is free again
  if half and 'RESOURCE_EXHAUSTED' in error:
    tqdm.tqdm.write(f'{shape}: the memory does not hold {len(group)} trials, so half of them run first')
    return _run_or_record(opened, group[:half], bar) + _run_or_record(opened, group[half:], bar)
  tqdm.tqdm.write(f'{shape} failed: {error}')
  seconds = (time.perf_counter() - began) / len(group)
  return [trials.Finished(record.failed(c, opened.schema, error, seconds), np.empty((0, 0))) for c in group]


def _check_filters(config: config_lib.Config, schema: schema_lib.FeatureSchema) -> None:
  """Raises ValueError when a view would keep more than there is: the schema tells, no trial has to fail for it."""
  try:
    train.draw_filters(config, schema, [config.seed])
  except ValueError as e:
    raise ValueError(f'{config.model}, {config.width} wide: {e}') from None


def _claim(out: pathlib.Path, study: dict[str, Any]) -> None:
  """Writes study.json, or adds to it the axes, recipes and trials that are new."""
  path = out / 'study.json'
  if not path.exists() and out.exists() and any(out.iterdir()):
    raise ValueError(f'{out}: is not empty and holds no study.json, so it is not a study directory')
  if path.exists():
    found = records.read_study(out)
    theirs = found.settings
    if theirs['data_fingerprint'] != study['data_fingerprint']:
      raise ValueError(f'{out}: is a study of another data set; choose another --out')
    if theirs['epochs'] != study['epochs']:
      raise ValueError(f'{out}: is a study of {theirs["epochs"]} epochs; choose another --out')
    study['recipes'] = _joined(out, theirs.get('recipes') or records.recipes(found), study['recipes'])
    for axis in ('arms', 'trials', 'commands'):
      study[axis] = list(dict.fromkeys(theirs[axis] + study[axis]))
    for axis in ('widths', 'depths', 'views', 'learning_rates', 'seeds'):
      study[axis] = sorted({*theirs[axis], *study[axis]})
  out.mkdir(parents=True, exist_ok=True)
  record.write_json(path, study)


def _joined(out: pathlib.Path, theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
  """The recipes of all arms; raises ValueError when an arm has another one already."""
  for arm in theirs.keys() & ours.keys():
    differ = config_lib.differing(theirs[arm], ours[arm])
    if differ:
      raise ValueError(f'{out}: its trials of {arm} differ in {", ".join(differ)}; choose another --out')
  return theirs | ours


def _describe(data: pathlib.Path, schema: schema_lib.FeatureSchema, grid: grid_lib.Grid,
              configs: list[config_lib.Config], command: str) -> dict[str, Any]:
  test = schema.splits['test']
  return {
      'format_version': records.FORMAT_VERSION, 'data': str(data), 'data_fingerprint': schema.fingerprint,
      **{axis: list(values) for axis, values in dataclasses.asdict(grid).items()},
      'widths': sorted({width for widths in grid.widths.values() for width in widths}), 'epochs': configs[0].epochs,
      'teacher': dataclasses.asdict(schema.teacher) if schema.teacher else None,
      'test_base_rate': test.positives[0] / test.rows, 'trials': [config_lib.run_id(c) for c in configs],
      'commands': [command],
      'recipes': {c.model: records.recipe(config_lib.to_raw(c)) for c in configs}}
