"""A run opened for analysis: its configuration, and those checkpoint items alone that an analysis
asks for.
"""

from collections.abc import Iterator
import contextlib
import functools
import pathlib
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from rec_sparse import checkpoint
from rec_sparse import config as config_lib
from rec_sparse import schema as schema_lib
from rec_sparse import train
from rec_sparse.runs import identity
from rec_sparse.runs import run_directory


class Unavailable(ValueError):
  """What this run cannot show: its model has nothing of the kind, or its files are not here."""


class Restored(NamedTuple):
  """A run directory at one of its checkpoints, of whose arrays none has been read yet."""

  config: config_lib.Config
  step: int  # the chosen checkpoint
  steps: tuple[int, ...]  # all that are kept, rising
  metadata: dict[str, Any]  # of that checkpoint, as rec_sparse/runs/loop.py writes it
  # the data set that it was trained on, or what was named instead; may be elsewhere
  data: pathlib.Path
  own: pathlib.Path  # the data set that it was trained on
  manager: ocp.CheckpointManager

  @property
  def schema(self) -> schema_lib.FeatureSchema:
    """Fields and tasks as the checkpoint tells them, without the data set."""
    return identity.schema(self.metadata)


@contextlib.contextmanager
def open_run(
  directory: pathlib.Path, which: str, data: pathlib.Path | None = None
) -> Iterator[Restored]:
  """Opens `directory` at the checkpoint `which`: 'best', 'last' or a step.

  Raises ValueError naming the directory when it is no run, the flag when there is no such
  checkpoint, or the fields that were edited since.
  """
  config, own = run_directory.read(directory)
  with checkpoint.manager(directory, read_only=True) as manager:
    step = checkpoint.choose(manager, which)
    metadata = checkpoint.read_metadata(manager, step)
    ours = config_lib.to_raw(config)
    differ = config_lib.differing(config_lib.flat(ours), config_lib.flat(metadata['config']))
    if differ:
      raise ValueError(
        f'{directory / "config.json"}: {", ".join(differ)} differ from the config that was trained'
      )
    steps = tuple(sorted(manager.all_steps()))
    yield Restored(config, step, steps, metadata, data or own, own, manager)


def item(run: Restored, name: str, step: int | None = None) -> dict[str, Any]:
  """The item 'dense' or 'table' at `step` (default: the chosen one) on the first device, rows in
  logical order.
  """
  step = run.step if step is None else step
  _check_there(run, name, step)
  return checkpoint.read_item(run.manager, step, name)


def _check_there(run: Restored, name: str, step: int) -> None:
  """Raises Unavailable where the item of a checkpoint is not there."""
  path = pathlib.Path(run.manager.directory) / str(step) / name
  if not path.is_dir():
    raise Unavailable(f'{path}: is not there')


def state(run: Restored, program: train.Program, step: int | None = None) -> train.TrainState:
  """The network at `step` (default: the chosen one) as an evaluation takes it, on the first device.

  `program` is that of the run on its data.
  """
  step = run.step if step is None else step
  for name in ('dense', 'table'):
    _check_there(run, name, step)
  like = train.abstract_state(program, run.schema)
  return checkpoint.restore_model(run.manager, step, program, like)


def initial_state(run: Restored, program: train.Program) -> train.TrainState:
  """What `state` was at step 0, from config and seed."""
  return train.without_optimizer(train.init(program, run.schema))


def initial(run: Restored, name: str) -> dict[str, Any]:
  """What `item` was at step 0, from config and seed by `train.init` itself.

  Of the item 'dense' parameters and what moves, of 'table' all.
  """
  return _initial(run.config, run.schema.fields, run.schema.tasks, name)


@functools.lru_cache(maxsize=2)
def _initial(
  config: config_lib.Config,
  fields: tuple[schema_lib.Field, ...],
  tasks: tuple[str, ...],
  name: str,
) -> dict[str, Any]:
  """One compiled program, of which XLA drops all that is not asked for.

  Weights come without a table in memory.
  """
  schema = schema_lib.FeatureSchema(fields, tasks, None, {}, '', {})
  program = train.program(config, schema)
  wanted = {'dense': ('params', 'moving'), 'table': ('table_RxD',)}[name]

  def start() -> dict[str, Any]:
    content = checkpoint.items(train.init(program, schema))[name]
    return {entry: content[entry] for entry in wanted}

  return jax.jit(start)()
