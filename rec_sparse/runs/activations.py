"""What goes on inside a network, on examples of the validation split, as an evaluation sees it."""

from collections.abc import Callable
import functools
from typing import Any

from flax import traverse_util
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines import blocks
from rec_sparse import schema as schema_lib
from rec_sparse import train
from rec_sparse.embedding import table as table_lib
from rec_sparse.models import layers
from rec_sparse.runs import identity
from rec_sparse.runs import kernels
from rec_sparse.runs import restored

CHUNK = 4096  # examples of one pass through the network


def open_data(run: restored.Restored, what: str, *splits: str) -> schema_lib.FeatureSchema:
  """The schema of the run's data set, which has `splits`.

  Raises Unavailable, naming the analysis, where it is not there, ValueError where it is another.
  """
  if not (run.data / 'schema.json').is_file():
    raise restored.Unavailable(
      f'{what}: needs the data set, and {run.data} holds none; name another place with --data'
    )
  schema = schema_lib.load_schema(run.data, needs=splits)
  identity.check(run.metadata, schema, run.data, run.own)
  return schema


def competitions(
  program: train.Program, state: train.TrainState, batch: blocks.Batch
) -> dict[str, tuple[jax.Array, jax.Array, jax.Array]]:
  """Module -> (z_VxKxB, alpha_VxI, gamma_VxK) that it sows, no dropout; see models/ssr_d.py."""
  sown = _sown(program, state, batch, capture=False)
  return {'/'.join(path[:-1]): found for path, found in sown.items() if path[-1] == 'competition'}


def hidden(
  program: train.Program, marks: Any, state: train.TrainState, batch: blocks.Batch
) -> dict[str, np.ndarray]:
  """Hidden layer -> units_HxE, on all examples of a batch; {} where no layer can be seen.

  A layer ends in its `layers.Dropout`, which in evaluation passes its activations on: what those
  of the input pass on is no layer. Of a model without any, the units are what modules with a
  kernel give, before the activation; those with as many units as tasks are outputs. One axis of
  these arrays counts the examples, the last one or the first.
  """
  look = jax.jit(functools.partial(_hidden, program, _modules_with_kernel(marks)))
  chunks = []
  for first in range(0, len(batch['ids_BxF']), CHUNK):
    chunk = {name: column[first : first + CHUNK] for name, column in batch.items()}
    chunks.append(jax.device_get(look(state, chunk)))
  return {
    name: np.concatenate([chunk[name] for chunk in chunks], 1)
    for name in sorted(chunks[0], key=kernels.place)
  }


def _hidden(
  program: train.Program,
  with_kernel: set[tuple[str, ...]],
  state: train.TrainState,
  batch: blocks.Batch,
) -> dict[str, jax.Array]:
  """`hidden` of one chunk, given the paths of the modules that own a kernel."""

  def captures(module: nn.Module, method: str) -> bool:
    return method == '__call__' and (_ends_layer(module) or module.path in with_kernel)

  sown = _sown(program, state, batch, captures)
  outputs = {path[:-1]: out for path, out in sown.items() if path[-1] == '__call__'}
  ends = {path: out for path, out in outputs.items() if path not in with_kernel}
  found = {}
  for path, out in (ends or outputs).items():
    units_HxB = _by_unit(out, len(batch['ids_BxF']))
    if units_HxB is not None and (ends or len(units_HxB) != program.inputs.tasks):
      found['/'.join(path).replace('dropout', 'layer')] = units_HxB
  return found


def looked_up(
  program: train.Program, table: table_lib.Table, batch: blocks.Batch
) -> table_lib.Rows:
  """Rows as `train.eval_step` gives them to the network."""
  rows = table_lib.read(program.table, table, batch['ids_BxF'])
  return train.scaled_by_values(program, rows, batch)


def _sown(
  program: train.Program,
  state: train.TrainState,
  batch: blocks.Batch,
  capture: bool | Callable[[nn.Module, str], bool],
) -> dict[tuple[str, ...], Any]:
  """(*modules, name) -> what is sown into `intermediates`, and what `capture` adds to it, once."""
  _, collections = program.module.apply(
    train.variables(state),
    looked_up(program, state.table, batch),
    train=False,
    mutable=['intermediates'],
    capture_intermediates=capture,
  )
  flat = traverse_util.flatten_dict(collections.get('intermediates', {}))
  return {path: sown[0] for path, sown in flat.items()}


def _by_unit(out: Any, examples: int) -> jax.Array | None:
  """What a module gives as float32 units_HxB; None where no axis counts the examples."""
  if not isinstance(out, jax.Array) or out.ndim < 2:
    return None
  out = out.astype(jnp.float32)
  if out.shape[-1] == examples:
    return out.reshape(-1, examples)
  if out.shape[0] == examples:
    return out.reshape(examples, -1).T
  return None


def _ends_layer(module: nn.Module) -> bool:
  return isinstance(module, layers.Dropout) and not isinstance(module.parent, layers.Input)


def _modules_with_kernel(marks: Any) -> set[tuple[str, ...]]:
  """Paths of the modules that own a parameter which decays."""
  flat = traverse_util.flatten_dict(marks)
  return {path[:-1] for path, mark in flat.items() if mark.decays}
