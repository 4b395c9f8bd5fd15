"""Checkpoints by Orbax: dense, table, optimizer, data position and metadata as items of their own.

A reader opens what it needs: an analysis of the dense network never touches the table. Kept are the
last checkpoint, the one of the highest value saved with it, and those of every `keep_every` steps.
A run saves a value with a checkpoint only where it was the best so far, so values rise and what is
kept is what the run itself calls the best.
"""

from collections.abc import Iterator
import contextlib
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as ocm

from rec_sparse import train
from rec_sparse.embedding import table as table_lib

DENSE = ('step', 'trial', 'rate_scale', 'params', 'moving', 'constants')  # of TrainState
FORMAT = 3  # in the metadata; before 3 a state had a learning rate in place of `trial`


@contextlib.contextmanager
def manager(
  run_directory: pathlib.Path, *, read_only: bool = False, keep_every: int = 0
) -> Iterator[ocp.CheckpointManager]:
  """Opens `checkpoints/` of a run directory; a checkpoint at a multiple of `keep_every` (0: none)
  stays for good.

  Raises ValueError when something else has its name.
  """
  directory = (run_directory / 'checkpoints').resolve()
  if directory.exists() and not directory.is_dir():
    raise ValueError(f'{directory}: is not a directory')

  def value(measured: dict[str, float]) -> float:
    return measured['value']

  keep = ocm.AnyPreservationPolicy(
    [
      ocm.LatestN(1),
      ocm.BestN(get_metric_fn=value, n=1, keep_checkpoints_without_metrics=False),
      *([ocm.EveryNSteps(keep_every)] if keep_every else []),
    ]
  )
  # without best_fn no value is written
  options = (
    ocp.CheckpointManagerOptions(read_only=True)
    if read_only
    else ocp.CheckpointManagerOptions(
      best_fn=value, preservation_policy=keep, cleanup_tmp_directories=True
    )
  )
  with ocp.CheckpointManager(directory, options=options) as found:
    yield found


def save(
  found: ocp.CheckpointManager,
  run: train.Program,
  state: train.TrainState,
  position: dict,
  metadata: dict,
  value: float | None = None,
) -> None:
  """Writes one checkpoint, rows in logical order, and waits until it is whole.

  `position` is the feed's place in the data, `metadata` any JSON; `value` is that of a checkpoint
  better than all before it, higher than theirs, and None for any other. Raises ValueError when it
  cannot be written; then the last one is still whole.
  """
  state = state._replace(table=table_lib.to_logical(run.table, state.table))
  saved = {item: ocp.args.StandardSave(content) for item, content in items(state).items()}
  metadata = metadata | {'format': FORMAT}
  args = ocp.args.Composite(
    **saved, data=ocp.args.JsonSave(position), metadata=ocp.args.JsonSave(metadata)
  )
  try:
    found.save(
      int(state.step), args=args, metrics=None if value is None else {'value': value}, force=True
    )
    found.wait_until_finished()
  except (ValueError, OSError, RuntimeError) as e:
    raise ValueError(
      f'{found.directory}/{state.step}: cannot be written, is the disk full? ({_reason(e)})'
    ) from e


def restore(
  found: ocp.CheckpointManager, step: int, run: train.Program, like: train.TrainState
) -> tuple[train.TrainState, dict, dict]:
  """(state, data position, metadata) of the checkpoint at `step`, on the devices of `run` whatever
  wrote it.

  `like` is a state, or the shapes of one. Raises ValueError when the checkpoint does not hold such
  a state, or is of another format.
  """
  _check_format(found, step)
  like = _placed(run, like)
  wanted = {item: _restore_args(item, content) for item, content in items(like).items()}
  args = ocp.args.Composite(**wanted, data=ocp.args.JsonRestore(), metadata=ocp.args.JsonRestore())
  read = _read(found, step, args)

  scratch = like.table.slots.scratch_R
  scratch_R = jnp.zeros(scratch.shape, scratch.dtype, device=scratch.sharding)
  slots = read['optimizer']['slots']._replace(scratch_R=scratch_R)
  moments = read['optimizer']['moments']
  state = _state(run, read['dense'], moments, _table(read['table'], slots))
  return state, read['data'], read['metadata']


def restore_model(
  found: ocp.CheckpointManager, step: int, run: train.Program, like: train.TrainState
) -> train.TrainState:
  """The state without its optimizer (None): what an evaluation reads; raises as `restore` does."""
  _check_format(found, step)
  like = items(_placed(run, like))
  wanted = {item: _restore_args(item, like[item]) for item in ('dense', 'table')}
  read = _read(found, step, ocp.args.Composite(**wanted))
  return _state(run, read['dense'], None, _table(read['table'], None))


def _check_format(found: ocp.CheckpointManager, step: int) -> None:
  written = read_metadata(found, step).get('format', 1)
  if written != FORMAT:
    raise ValueError(
      f'{found.directory}/{step}: of format {written}, this program reads format {FORMAT}; use the '
      'release that wrote it, or train anew in another --out'
    )


def read_item(found: ocp.CheckpointManager, step: int, item: str) -> dict[str, Any]:
  """One of `items` on the first device, whatever wrote it, named tuples as dicts; reads nothing
  else.

  Shapes come from the checkpoint itself, so no config is needed. Raises ValueError when the item is
  damaged.
  """
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

  def place(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device)

  wanted = jax.tree.map(place, _stored(found, step, item))
  args = ocp.args.Composite(**{item: ocp.args.StandardRestore(wanted)})
  read = _read(found, step, args)[item]
  if item == 'table':
    return {'table_RxD': table_lib.settled(_table(read, None)).rows_RxD}
  return read


def _stored(found: ocp.CheckpointManager, step: int, item: str) -> dict[str, Any]:
  """Shapes and dtypes of what an item of a checkpoint holds, named tuples as dicts."""
  with _reading(found, step):
    return ocp.StandardCheckpointHandler().metadata(found.directory / str(step) / item).tree


def _restore_args(item: str, fields: dict[str, Any]) -> ocp.args.StandardRestore:
  """Not strict about what has the table's height: the mesh at hand may need another padding."""
  return ocp.args.StandardRestore(fields, strict=item == 'dense')


def _placed(run: train.Program, like: train.TrainState) -> train.TrainState:
  """Shapes, dtypes and shardings."""

  def place(leaf: Any, sharding: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

  return jax.tree.map(place, like, train.shardings(run, like))


def read_metadata(found: ocp.CheckpointManager, step: int) -> dict:
  """The metadata that `save` was given."""
  return _read(found, step, ocp.args.Composite(metadata=ocp.args.JsonRestore()))['metadata']


def choose(found: ocp.CheckpointManager, which: str) -> int:
  """The step that 'best', 'last' or a number names; without a validation, the last one is the best.

  Raises ValueError when there is none.
  """
  steps = found.all_steps()
  if not steps:
    raise ValueError(f'{found.directory}: holds no checkpoint')
  if which == 'last':
    return max(steps)
  if which == 'best':
    return read_metadata(found, max(steps))['progress']['best_step'] or max(steps)
  if not which.isdecimal() or int(which) not in steps:
    raise ValueError(
      f'--checkpoint={which}: {found.directory} holds the steps '
      f'{", ".join(map(str, sorted(steps)))}; best and last are names too'
    )
  return int(which)


def items(state: train.TrainState) -> dict[str, dict[str, Any]]:
  """What a checkpoint holds of a state whose table is in logical row order: item -> its fields.

  The working space of the table optimizer is not part of it.
  """
  rows_RxD, slots, _, scale = state.table
  scale = {} if scale is None else {'scale': scale}
  sparse = {} if state.sparse is None else {'sparse': state.sparse}
  return {
    'dense': {name: getattr(state, name) for name in DENSE} | sparse,
    'table': {'table_RxD': rows_RxD, **scale},
    'optimizer': {'moments': state.moments, 'slots': slots._replace(scratch_R=None)},
  }


def _table(item: dict[str, Any], slots: Any) -> table_lib.Table:
  """A table in logical row order from the item `table`."""
  return table_lib.Table(item['table_RxD'], slots, scale=item.get('scale'))


def _state(
  run: train.Program, dense: dict[str, Any], moments: Any, table: table_lib.Table
) -> train.TrainState:
  """The inverse of `items`, the table as it is trained."""
  table = table_lib.from_logical(run.table, table)
  return train.TrainState(**dense, moments=moments, table=table)


def _read(found: ocp.CheckpointManager, step: int, args: ocp.args.Composite) -> Any:
  with _reading(found, step):
    return found.restore(step, args=args)


@contextlib.contextmanager
def _reading(found: ocp.CheckpointManager, step: int) -> Iterator[None]:
  try:
    yield
  except (ValueError, KeyError, FileNotFoundError) as e:
    raise ValueError(
      f'{found.directory}/{step}: not a checkpoint of this configuration, or damaged ({_reason(e)})'
    ) from e


def _reason(e: Exception) -> str:
  """What Orbax says, without the pages that may follow."""
  return str(e).strip().partition('\n')[0][:300]
