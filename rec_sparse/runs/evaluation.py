"""What a state scores on a split, and whether it may be saved."""

from collections.abc import Callable
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines import blocks
from data_pipelines import stream
from rec_sparse import config as config_lib
from rec_sparse import metrics
from rec_sparse import objective
from rec_sparse import record
from rec_sparse import schema as schema_lib
from rec_sparse import train
from rec_sparse.runs import feeds
from rec_sparse.runs import trained as trained_lib


def evaluator(
  run: train.Program, split: blocks.OpenSplit
) -> Callable[[train.TrainState], dict[str, Any] | None]:
  """state -> metrics of `split`, None where a logit is not finite."""
  evaluate = feeds.open_evaluate(run, split)
  known = labels(split)

  def call(state: train.TrainState) -> dict[str, Any] | None:
    sums, logits_ExT = evaluate(state)
    return run.objective.compute(sums, logits_ExT, known)

  return call


def soundness(run: train.Program, split: blocks.OpenSplit) -> Callable[[train.TrainState], bool]:
  """state -> whether it may be saved: all its numbers are finite,
  and its logits on the first batch of `split`.

  The second does not follow from the first: weights of 1e38 are finite, but no sum of them is.
  """
  batch = next(iter(stream.eval_batches(split, feeds.eval_batch_size(run, split.rows))))

  @jax.jit
  def sound(state: train.TrainState, batch: train.Batch) -> jax.Array:
    _, logits_BxT = train.eval_step(run, state, run.objective.zeros(), batch)
    return all_finite((logits_BxT, state))

  def call(state: train.TrainState) -> bool:
    return bool(sound(state, batch))

  return call


def all_finite(tree: Any) -> jax.Array:
  """Whether no number of a tree is NaN or infinite: those times 0 are NaN, all others 0.

  A sum of zeros takes half the time of asking each number on a CPU (a maximum
  would lose NaN there).
  """
  floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
  zeros = [jnp.sum(leaf * 0).astype(jnp.float32) for leaf in floats]
  return jnp.isfinite(jnp.stack(zeros)).all()


def check_monitor(monitor: str, schema: schema_lib.FeatureSchema, data: pathlib.Path) -> None:
  """Raises ValueError when what ranks validations is undefined on the validation split."""
  undefined = one_class(schema, 'valid')
  if monitor != 'logloss' and undefined:
    raise ValueError(
      f'monitor={monitor}: all labels {undefined[0]!r} of the validation split '
      'are of one class, so AUC is undefined; use monitor=logloss'
    )
  if not monitor.startswith('gauc'):
    return
  if schema.group is None:
    raise ValueError(
      f'monitor={monitor}: the data have no groups; name their column with launch.prepare --group'
    )
  known = labels(blocks.open_split(data, schema, 'valid'))
  for task, label_E in zip(schema.tasks, known.label_ExT.T, strict=True):
    if metrics.gauc(known.group_E, np.zeros(len(label_E)), label_E).users is None:
      raise ValueError(
        f'monitor={monitor}: no group of the validation split has labels {task!r} of both '
        'classes, so GAUC is undefined; use monitor=logloss'
      )


def one_class(schema: schema_lib.FeatureSchema, split_name: str) -> list[str]:
  """The tasks whose labels in a split are all 0 or all 1:
  their AUC is undefined, null in what is written.
  """
  split = schema.splits[split_name]
  return [
    task
    for task, positives in zip(schema.tasks, split.positives, strict=True)
    if positives in (0, split.rows)
  ]


def undefined(schema: schema_lib.FeatureSchema, *split_names: str) -> list[str]:
  """A sentence for every task and split that has no AUC."""
  return [
    f'{split_name}: all labels {task!r} are of one class, so AUC is undefined (null)'
    for split_name in split_names
    for task in one_class(schema, split_name)
  ]


def labels(split: blocks.OpenSplit) -> objective.Labels:
  """Labels and groups of a whole split."""
  label_ExT = np.concatenate([records['label'] for records in split.blocks])
  if 'group' not in split.blocks[0].dtype.names:
    return objective.Labels(label_ExT, None)
  return objective.Labels(label_ExT, np.concatenate([records['group'] for records in split.blocks]))


def evaluate_run(
  directory: pathlib.Path, trained: trained_lib.Trained, split_name: str
) -> dict[str, Any]:
  """Metrics of the run in `directory`, as it was restored, on a split of its data.

  Raises ValueError when the split is damaged, or when logits are not finite.
  """
  split = blocks.open_split(trained.data, trained.schema, split_name)
  found = evaluator(trained.program, split)(trained.state)
  if found is None:
    raise ValueError(
      f'--run={directory}: checkpoint {trained.step} gives logits that are not finite on '
      f'{split_name}'
    )
  return found | {
    'split': split_name,
    'step': trained.step,
    'run_id': config_lib.run_id(trained.program.config),
    'data_fingerprint': trained.schema.fingerprint,
  }


def record_test(directory: pathlib.Path, found: dict[str, Any]) -> None:
  """Fills the test metrics of the run's trial record, if the run has ended."""
  path = directory / 'summary.json'
  if path.is_file():
    record.write_json(path, record.read_json(path) | record.measured('test', found))
