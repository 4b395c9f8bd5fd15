"""Tiny fields: on several devices, every device holds their rows, beside the sharded table.

Every example reads a row of each field, so the few rows of a tiny field are the hottest of all.
Held everywhere, they are looked up without an exchange and load no device more than another; an
update all-reduces a gradient of their size.

The sharded table keeps their rows too, stale and unread, so ids and logical arrays are what they
are without tiny fields: `take` copies them out of a table that was placed, `put` writes the trained
ones back before it leaves.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
from jax import P
import jax.numpy as jnp
import numpy as np

from rec_sparse.embedding import duplicates
from rec_sparse.embedding import optimizers
from rec_sparse.embedding import placement
from rec_sparse.embedding import routing
from rec_sparse.embedding import sharded
from rec_sparse.embedding.shard_lookup import Lookup
from rec_sparse.embedding.shard_update import Updated

TINY_ROWS = 256  # of a field: well below a batch, whose rows and gradients would travel instead


class Fields(NamedTuple):
  """Which fields are tiny, and where their rows are; T rows in all."""

  tiny_G: np.ndarray  # positions among the F fields
  large_H: np.ndarray  # the others
  shift_G: np.ndarray  # int32: row of the table - row of the tiny stack
  rows_T: np.ndarray  # int32: row of the table that each row of the tiny stack is


class Stack(NamedTuple):
  """The rows of the tiny fields on every device, with what the table's optimizer keeps of them."""

  table_TxD: jax.Array
  moments: Any  # as of optimizers.Slots, but T rows; None without an optimizer
  scratch_T: Any


def choose(sizes: Sequence[int], mesh: jax.sharding.Mesh) -> Fields | None:
  """The tiny ones of fields with `sizes` rows each; None on one device, or where no field or every
  field is tiny.
  """
  sizes_F = np.asarray(sizes)
  tiny_F = sizes_F <= TINY_ROWS
  if mesh.size == 1 or tiny_F.all() or not tiny_F.any():
    return None
  starts_F, stack_starts_F = (np.cumsum(s) - s for s in (sizes_F, sizes_F * tiny_F))
  rows_R = np.arange(sizes_F.sum(), dtype=np.int32)
  shift_G = (starts_F - stack_starts_F)[tiny_F].astype(np.int32)
  return Fields(
    np.flatnonzero(tiny_F), np.flatnonzero(~tiny_F), shift_G, rows_R[np.repeat(tiny_F, sizes_F)]
  )


def lookup(
  fields: Fields | None,
  table_RxD: jax.Array,
  stack: Stack | tuple[()],
  ids_BxF: jax.Array,
  mesh: jax.sharding.Mesh,
  method: sharded.Method,
) -> Lookup:
  """As `sharded.lookup`, with the tiny fields from their stack."""
  if fields is None:
    return sharded.lookup(table_RxD, ids_BxF, mesh, method)
  tiny_BxG, large_BxH = _ids(fields, ids_BxF)
  tiny = sharded.lookup(stack.table_TxD, tiny_BxG, mesh, 'replicated')
  large = sharded.lookup(table_RxD, large_BxH, mesh, method)
  order_F = np.argsort(np.concatenate([fields.tiny_G, fields.large_H]))
  return Lookup(jnp.concatenate([tiny.rows_BxFxD, large.rows_BxFxD], 1)[:, order_F], large.dropped)


def update(
  fields: Fields | None,
  optimizer: optimizers.TableOptimizer,
  table_RxD: jax.Array,
  slots: optimizers.Slots,
  stack: Stack | tuple[()],
  ids_BxF: jax.Array,
  grads_BxFxD: jax.Array,
  learning_rate: jax.Array,
  mesh: jax.sharding.Mesh,
  method: sharded.Method,
) -> tuple[Updated, Stack | tuple[()]]:
  """As `sharded.update`, and the new stack."""
  if fields is None:
    return sharded.update(
      optimizer, table_RxD, slots, ids_BxF, grads_BxFxD, learning_rate, mesh, method
    ), stack
  tiny_BxG, large_BxH = _ids(fields, ids_BxF)
  tiny_slots = slots._replace(moments=stack.moments, scratch_R=stack.scratch_T)
  tiny = sharded.update(
    optimizer,
    stack.table_TxD,
    tiny_slots,
    tiny_BxG,
    grads_BxFxD[:, fields.tiny_G],
    learning_rate,
    mesh,
    'replicated',
    logical_row=lambda rows_N: jnp.asarray(fields.rows_T)[rows_N],
  )
  large = sharded.update(
    optimizer,
    table_RxD,
    slots,
    large_BxH,
    grads_BxFxD[:, fields.large_H],
    learning_rate,
    mesh,
    method,
  )
  return large, Stack(tiny.table_RxD, tiny.slots.moments, tiny.slots.scratch_R)


def take(
  fields: Fields, table_RxD: jax.Array, slots: optimizers.Slots | None, mesh: jax.sharding.Mesh
) -> Stack:
  """The stack, out of a stored table and its slots (None: without an optimizer)."""
  copy = _over_shards(_from_mine, mesh, (P(placement.AXES),), P())
  if slots is None:
    return Stack(*copy(fields.rows_T, (table_RxD,)), None, None)
  table_TxD, *moments = copy(fields.rows_T, (table_RxD, *slots.moments))
  scratch_T = duplicates.new_scratch(
    len(fields.rows_T), 'scratch' if slots.scratch_R.size else 'sort'
  )
  return Stack(
    table_TxD, tuple(moments), jax.device_put(scratch_T, placement.sharding(mesh, replicated=True))
  )


def put(
  fields: Fields,
  table_RxD: jax.Array,
  slots: optimizers.Slots,
  stack: Stack,
  mesh: jax.sharding.Mesh,
) -> tuple[jax.Array, optimizers.Slots]:
  """The stored table and its slots with the rows of the stack written over their stale copies."""
  write = _over_shards(_into_mine, mesh, (P(placement.AXES), P()), P(placement.AXES))
  table_RxD, *moments = write(
    fields.rows_T, (table_RxD, *slots.moments), (stack.table_TxD, *stack.moments)
  )
  return table_RxD, slots._replace(moments=tuple(moments))


def _from_mine(rows_T: jax.Array, mine_LxX: jax.Array) -> jax.Array:
  rows_TxX = mine_LxX.at[_mine(rows_T, mine_LxX.shape[0])].get(mode='fill', fill_value=0)
  return lax.psum(rows_TxX, placement.AXES)  # one term is not 0


def _into_mine(rows_T: jax.Array, mine_LxX: jax.Array, rows_TxX: jax.Array) -> jax.Array:
  return mine_LxX.at[_mine(rows_T, mine_LxX.shape[0])].set(rows_TxX, mode='drop')


def _mine(rows_T: jax.Array, local_rows: int) -> jax.Array:
  """Local row of each row of the stack; `local_rows`, which is none, where another device has it."""
  local_T, mine_T = routing.my_rows(rows_T, local_rows)
  return jnp.where(mine_T, local_T, local_rows)


@functools.lru_cache
def _over_shards(
  of_array: Callable[..., jax.Array], mesh: jax.sharding.Mesh, in_specs: tuple[P, ...], out_specs: P
) -> Callable[..., tuple[jax.Array, ...]]:
  """(rows_T, arrays, ...) -> arrays: one program for the table and its moments, kept for the next
  checkpoint.
  """
  of_arrays = lambda rows_T, *arrays: jax.tree.map(functools.partial(of_array, rows_T), *arrays)
  return jax.jit(
    jax.shard_map(of_arrays, mesh=mesh, in_specs=(P(), *in_specs), out_specs=out_specs)
  )


def _ids(fields: Fields, ids_BxF: jax.Array) -> tuple[jax.Array, jax.Array]:
  """(rows of the tiny stack, rows of the table)."""
  return ids_BxF[:, fields.tiny_G] - fields.shift_G[None], ids_BxF[:, fields.large_H]
