"""What a state scores on a split: exact metrics on the host from the logits, with the compiled step's sums beside them."""

from collections.abc import Callable
import json
import pathlib
from typing import Any

import numpy as np

from data_pipelines import blocks
from launch import feeds
from rec_sparse import checkpoint
from rec_sparse import config as config_lib
from rec_sparse import metrics
from rec_sparse import record
from rec_sparse import schema as schema_lib
from rec_sparse import train


def evaluator(run: train.Program, schema: schema_lib.FeatureSchema, data: pathlib.Path,
              split_name: str) -> Callable[[train.TrainState], dict[str, Any]]:
  """state -> metrics of `split_name`, opened once."""
  split = blocks.open_split(data, schema, split_name)
  evaluate = feeds.open_evaluate(run, split)
  label_NxT, group_N = labels(split)

  def call(state: train.TrainState) -> dict[str, Any]:
    sums, logits_NxT = evaluate(state)
    return summarize(schema.tasks, sums, logits_NxT, label_NxT, group_N)

  return call


def labels(split: blocks.OpenSplit) -> tuple[np.ndarray, np.ndarray | None]:
  """(label_NxT, group_N or None) of a whole split, in file order."""
  label_NxT = np.concatenate([records['label'] for records in split.blocks])
  grouped = 'group' in split.blocks[0].dtype.names
  return label_NxT, np.concatenate([records['group'] for records in split.blocks]) if grouped else None


def summarize(tasks: tuple[str, ...], sums: metrics.Sums, logits_NxT: np.ndarray, label_NxT: np.ndarray,
              group_N: np.ndarray | None) -> dict[str, Any]:
  """Metrics of the first task, flat; of every task under `tasks` where there are several."""
  found = []
  for t, binned in enumerate(metrics.compute(sums)):
    exact = metrics.report(logits_NxT[:, t], label_NxT[:, t], group_N)
    gauc = {'gauc': exact['gauc_impressions']} if group_N is not None else {}
    found.append(exact | gauc | {'auc_binned': binned['auc']})
  return found[0] | ({'tasks': dict(zip(tasks, found, strict=True))} if len(tasks) > 1 else {})


def evaluate_run(directory: pathlib.Path, config: config_lib.Config, schema: schema_lib.FeatureSchema,
                 data: pathlib.Path, split_name: str, which: str) -> dict[str, Any]:
  """Metrics of a run's checkpoint ('best', 'last' or a step) on a split of `data`, restored on the first device.

  Raises ValueError when there is no such checkpoint, or when `data` is encoded otherwise than the run's data.
  """
  with checkpoint.manager(directory, read_only=True) as manager:
    step = checkpoint.choose(manager, which)
    like = checkpoint.abstract_state(config, schema)
    rows = checkpoint.table_rows(manager, step)
    if rows != like.table_RxD.shape[0]:
      raise ValueError(f'--data={data}: has {like.table_RxD.shape[0]} table rows, the run was trained with {rows}; '
                       'prepare it with the vocabulary of the training data')
    state = checkpoint.restore_model(manager, step, like)
  found = evaluator(train.program(config, schema), schema, data, split_name)(state)
  return found | {'split': split_name, 'step': step, 'run_id': config_lib.run_id(config)}


def record_test(directory: pathlib.Path, found: dict[str, Any]) -> None:
  """Fills the test metrics of the run's trial record, if the run has ended."""
  path = directory / 'summary.json'
  if path.is_file():
    record.write_json(path, json.loads(path.read_text()) | {
        'test_logloss': found['logloss'], 'test_auc': found['auc']})
