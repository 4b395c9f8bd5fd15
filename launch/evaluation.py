"""What a state scores on a split: exact metrics from the logits, the compiled step's binned AUC beside them."""

from collections.abc import Callable
import pathlib
from typing import Any

import numpy as np

from data_pipelines import blocks
from launch import feeds
from launch import identity
from launch import run_directory
from rec_sparse import checkpoint
from rec_sparse import config as config_lib
from rec_sparse import metrics
from rec_sparse import record
from rec_sparse import schema as schema_lib
from rec_sparse import train


def evaluator(run: train.Program, schema: schema_lib.FeatureSchema, data: pathlib.Path,
              split_name: str) -> Callable[[train.TrainState], dict[str, Any] | None]:
  """state -> metrics of `split_name` (opened once), None where a logit is not finite."""
  split = blocks.open_split(data, schema, split_name)
  evaluate = feeds.open_evaluate(run, split)
  label_NxT, group_N = labels(split)

  def call(state: train.TrainState) -> dict[str, Any] | None:
    sums, logits_NxT = evaluate(state)
    return summarize(schema.tasks, sums, logits_NxT, label_NxT, group_N)

  return call


def rank(config: config_lib.Config, found: dict[str, Any]) -> float:
  """What ranks the validations of a run; higher is better."""
  return found['auc'] if config.monitor == 'auc' else -found['logloss']


def labels(split: blocks.OpenSplit) -> tuple[np.ndarray, np.ndarray | None]:
  """(label_NxT, group_N or None) of a whole split, in file order."""
  label_NxT = np.concatenate([records['label'] for records in split.blocks])
  grouped = 'group' in split.blocks[0].dtype.names
  return label_NxT, np.concatenate([records['group'] for records in split.blocks]) if grouped else None


def summarize(tasks: tuple[str, ...], sums: metrics.Sums, logits_NxT: np.ndarray, label_NxT: np.ndarray,
              group_N: np.ndarray | None) -> dict[str, Any] | None:
  """Metrics of the first task, flat; of every task under `tasks` where there are several; None: it has diverged."""
  if not np.isfinite(logits_NxT).all():
    return None
  found = []
  for t, binned in enumerate(metrics.compute(sums)):
    exact = metrics.report(logits_NxT[:, t], label_NxT[:, t], group_N)
    gauc = {'gauc': exact['gauc_impressions']} if group_N is not None else {}
    found.append(exact | gauc | {'auc_binned': binned['auc']})
  return found[0] | ({'tasks': dict(zip(tasks, found, strict=True))} if len(tasks) > 1 else {})


def evaluate_run(directory: pathlib.Path, config: config_lib.Config, schema: schema_lib.FeatureSchema,
                 data: pathlib.Path, split_name: str, which: str) -> dict[str, Any]:
  """Metrics of a run's checkpoint ('best', 'last' or a step) on a split of `data`, restored on the first device.

  Raises ValueError when there is no such checkpoint, or when `data` is encoded otherwise than the
  run's own data.
  """
  run = train.program(config, schema)
  with checkpoint.manager(directory, read_only=True) as manager:
    step = checkpoint.choose(manager, which)
    _, own = run_directory.read(directory)
    identity.check(checkpoint.read_metadata(manager, step), schema, data, own)
    state = checkpoint.restore_model(manager, step, run, train.abstract_state(run, schema))
  found = evaluator(run, schema, data, split_name)(state)
  if found is None:
    raise ValueError(f'--run={directory}: checkpoint {step} gives logits that are not finite on {split_name}')
  return found | {'split': split_name, 'step': step, 'run_id': config_lib.run_id(config),
                  'data_fingerprint': schema.fingerprint}


def record_test(directory: pathlib.Path, found: dict[str, Any]) -> None:
  """Fills the test metrics of the run's trial record, if the run has ended."""
  path = directory / 'summary.json'
  if path.is_file():
    record.write_json(path, record.read_json(path) | {
        'test_logloss': found['logloss'], 'test_auc': found['auc']})
