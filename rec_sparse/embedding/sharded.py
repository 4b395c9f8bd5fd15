"""Lookup in, and update of, a table whose rows are spread over all devices of a mesh (`data`, `model`).

Ids arrive sharded over `data` and replicated over `model`; rows leave, and their gradients come back, the same way,
because the dense layers read whole examples and `model` splits their weights. Three methods:

- `reduce_scatter`: every device sees all ids, looks up the rows that it owns, and the partial results are
  reduce-scattered; the update all-gathers the gradients. Nothing can overflow; each device handles the whole batch.
- `all_to_all`: each device takes its own share of the ids (over `model` too), asks each owner once per distinct id, and
  sends each owner summed gradients. Work and traffic per device shrink with the number of devices. The buckets have a
  static capacity: `dropped` counts, over all devices, the ids beyond it. The caller must treat any as an error.
- `replicated`: for the stacked table of tiny fields: every device holds it, nothing is sent to look up, and the update
  all-reduces a gradient of the table's (tiny) size.

With one device each of them is a plain gather and a plain update. No program holds or sends anything of the size of a
sharded table. Differentiate with respect to the rows, never the table.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import P, lax

from rec_sparse.embedding import duplicates, routing, storage
from rec_sparse.embedding.gather import gather_rows
from rec_sparse.embedding.optimizers import Slots, TableOptimizer
from rec_sparse.embedding.placement import AXES, sharding

Method = Literal['reduce_scatter', 'all_to_all', 'replicated']
SLACK = 1.5  # all_to_all: capacity over the even share; see routing.bucket_capacity


class Lookup(NamedTuple):
  rows_BxFxD: jax.Array  # float32 or bfloat16; without meaning for ids outside of the table
  dropped: jax.Array  # int32 scalar, over all devices; anything but 0 is an error


class Updated(NamedTuple):
  table_RxD: jax.Array
  slots: Slots
  dropped: jax.Array  # int32 scalar, over all devices; anything but 0 is an error


def init_slots(optimizer: TableOptimizer, table_RxD: jax.Array, mesh: jax.sharding.Mesh, method: Method) -> Slots:
  """The optimizer's slots, placed as the table is."""
  rows, one = sharding(mesh, replicated=method == 'replicated'), sharding(mesh, replicated=True)
  slots = jax.eval_shape(optimizer.init, table_RxD)
  shardings = _slot_specs(slots, rows, one)
  return jax.jit(optimizer.init, out_shardings=shardings)(table_RxD)


def lookup(
    table_RxD: jax.Array, ids_BxF: jax.Array, mesh: jax.sharding.Mesh, method: Method, slack: float = SLACK,
) -> Lookup:
  """The rows of the ids, decoded; `table_RxD` as `placement.place` made it, ids in logical row numbers."""
  if mesh.size == 1:
    return Lookup(_gather(table_RxD, ids_BxF), jnp.int32(0))
  local = {
      'reduce_scatter': lookup_reduce_scatter,
      'all_to_all': functools.partial(lookup_all_to_all, slack=slack),
      'replicated': lambda table_RxD, ids_BxF: Lookup(_gather(table_RxD, ids_BxF), jnp.int32(0)),
  }[method]
  return _shard_map(local, mesh, (_table_spec(method), P('data')), Lookup(P('data'), P()))(table_RxD, ids_BxF)


def update(
    optimizer: TableOptimizer, table_RxD: jax.Array, slots: Slots, ids_BxF: jax.Array, grads_BxFxD: jax.Array,
    learning_rate: jax.Array, mesh: jax.sharding.Mesh, method: Method, slack: float = SLACK,
) -> Updated:
  """One step of the optimizer, from the gradients of the looked-up rows; donate table and slots."""
  if mesh.size == 1:
    ids_N, grads_NxD = _flat(ids_BxF, grads_BxFxD)
    return Updated(*optimizer.update(table_RxD, slots, ids_N, grads_NxD, learning_rate), jnp.int32(0))
  local = {
      'reduce_scatter': update_all_gather,
      'all_to_all': functools.partial(update_all_to_all, slack=slack),
      'replicated': update_replicated,
  }[method]
  table = _table_spec(method)
  slot_specs = _slot_specs(slots, table, P())
  return _shard_map(
      functools.partial(local, optimizer), mesh, (table, slot_specs, P('data'), P('data'), P()),
      Updated(table, slot_specs, P()),
  )(table_RxD, slots, ids_BxF, grads_BxFxD, learning_rate)


# --- inside shard_map: L rows of the table, C examples on this device ---


def lookup_reduce_scatter(table_LxD: jax.Array, ids_CxF: jax.Array) -> Lookup:
  """Each device looks up its own rows for the whole batch; the sum over devices has one non-zero term."""
  ids_BxF = lax.all_gather(ids_CxF, 'data', tiled=True)
  local_BxF, mine_BxF = _my_rows(ids_BxF, table_LxD.shape[0])
  rows_BxFxD = jnp.where(mine_BxF[..., None], _gather(table_LxD, local_BxF), 0)
  rows_CxFxD = lax.psum_scatter(rows_BxFxD, 'data', scatter_dimension=0, tiled=True)
  return Lookup(lax.psum(rows_CxFxD, 'model'), jnp.int32(0))


def lookup_all_to_all(table_LxD: jax.Array, ids_CxF: jax.Array, slack: float) -> Lookup:
  """Ids to their owners and rows back, each distinct id once per device."""
  shards, local_rows = lax.axis_size(AXES), table_LxD.shape[0]
  ids_Q = _my_share(ids_CxF.reshape(-1), fill=shards * local_rows)
  capacity = routing.bucket_capacity(ids_Q.shape[0], shards, slack)
  plan = routing.route(ids_Q, shards, local_rows, capacity)
  asked = jnp.zeros(shards * capacity, jnp.int32).at[plan.slot_Q].set(plan.local_rows_Q, mode='drop')
  found, = gather_rows((table_LxD,), _swap(asked, shards))
  answers = _swap(found, shards).at[plan.slot_Q].get(mode='fill', fill_value=0)
  rows_QxD = jnp.zeros_like(answers).at[plan.order_Q].set(answers, unique_indices=True)
  rows_NxD = lax.all_gather(storage.decode(rows_QxD), 'model', tiled=True)[:ids_CxF.size]
  return Lookup(rows_NxD.reshape(*ids_CxF.shape, -1), lax.psum(plan.dropped, AXES))


def update_all_gather(
    optimizer: TableOptimizer, table_LxD: jax.Array, slots: Slots, ids_CxF: jax.Array, grads_CxFxD: jax.Array,
    learning_rate: jax.Array,
) -> Updated:
  """Every device sees all gradients and applies those of its own rows."""
  ids_N, grads_NxD = lax.all_gather(_flat(ids_CxF, grads_CxFxD), 'data', tiled=True)
  local_N, mine_N = _my_rows(ids_N, table_LxD.shape[0])
  local_N = jnp.where(mine_N, local_N, table_LxD.shape[0])
  table_LxD, slots = optimizer.update(table_LxD, slots, local_N, grads_NxD, learning_rate, logical_row=_logical)
  return Updated(table_LxD, slots, jnp.int32(0))


def update_all_to_all(
    optimizer: TableOptimizer, table_LxD: jax.Array, slots: Slots, ids_CxF: jax.Array, grads_CxFxD: jax.Array,
    learning_rate: jax.Array, slack: float,
) -> Updated:
  """Gradients summed per distinct id, to the owners; they sum over devices."""
  shards, local_rows = lax.axis_size(AXES), table_LxD.shape[0]
  ids_N, grads_NxD = _flat(ids_CxF, grads_CxFxD)
  ids_Q, grads_QxD = _my_share(ids_N, fill=shards * local_rows), _my_share(grads_NxD, fill=0)
  capacity = routing.bucket_capacity(ids_Q.shape[0], shards, slack)
  plan = routing.route(ids_Q, shards, local_rows, capacity)
  summed_QxD = duplicates.sum_runs(plan.first_Q, grads_QxD[plan.order_Q])
  slot_Q = jnp.where(plan.last_Q, plan.slot_Q, shards * capacity)  # the end of a run holds its sum
  ids = jnp.full(shards * capacity, local_rows, jnp.int32).at[slot_Q].set(plan.local_rows_Q, mode='drop')
  grads = jnp.zeros((shards * capacity, grads_QxD.shape[1])).at[slot_Q].set(summed_QxD, mode='drop')
  table_LxD, slots = optimizer.update(
      table_LxD, slots, _swap(ids, shards), _swap(grads, shards), learning_rate, logical_row=_logical)
  return Updated(table_LxD, slots, lax.psum(plan.dropped, AXES))


def update_replicated(
    optimizer: TableOptimizer, table_RxD: jax.Array, slots: Slots, ids_CxF: jax.Array, grads_CxFxD: jax.Array,
    learning_rate: jax.Array,
) -> Updated:
  """All-reduces the gradient of every row, then moves the rows that any device touched: the same on all devices."""
  rows = table_RxD.shape[0]
  unique_N, summed_NxD = duplicates.by_sort(*_flat(ids_CxF, grads_CxFxD), rows)
  grads_RxD = jnp.zeros((rows, summed_NxD.shape[1])).at[unique_N].set(summed_NxD, mode='drop', unique_indices=True)
  touched_R = jnp.zeros(rows, jnp.int32).at[unique_N].set(1, mode='drop', unique_indices=True)
  grads_RxD, touched_R = lax.psum((grads_RxD, touched_R), 'data')
  ids_R = jnp.where(touched_R > 0, jnp.arange(rows, dtype=jnp.int32), rows)
  return Updated(*optimizer.update(table_RxD, slots, ids_R, grads_RxD, learning_rate), jnp.int32(0))


def _gather(table_RxD: jax.Array, ids_BxF: jax.Array) -> jax.Array:
  rows_NxD, = gather_rows((table_RxD,), ids_BxF.reshape(-1))
  return storage.decode(rows_NxD).reshape(*ids_BxF.shape, -1)


def _my_rows(ids: jax.Array, local_rows: int) -> tuple[jax.Array, jax.Array]:
  """(local row, whether it lives here)."""
  shards = lax.axis_size(AXES)
  return ids // shards, (ids >= 0) & (ids < shards * local_rows) & (ids % shards == lax.axis_index(AXES))


def _logical(local_rows_N: jax.Array) -> jax.Array:
  return local_rows_N * lax.axis_size(AXES) + lax.axis_index(AXES)


def _my_share(x_NxX: jax.Array, fill: int) -> jax.Array:
  """This device's part of what all devices along `model` hold alike."""
  parts = lax.axis_size('model')
  size = -(-x_NxX.shape[0] // parts)
  padding = [(0, size * parts - x_NxX.shape[0])] + [(0, 0)] * (x_NxX.ndim - 1)
  return lax.dynamic_slice_in_dim(jnp.pad(x_NxX, padding, constant_values=fill), lax.axis_index('model') * size, size)


def _swap(x: jax.Array, shards: int) -> jax.Array:
  """(shards * capacity, ...) by destination -> the same by source."""
  return lax.all_to_all(x.reshape(shards, -1, *x.shape[1:]), AXES, 0, 0).reshape(x.shape)


def _flat(ids_BxF: jax.Array, grads_BxFxD: jax.Array) -> tuple[jax.Array, jax.Array]:
  return ids_BxF.reshape(-1), grads_BxFxD.reshape(-1, grads_BxFxD.shape[-1])


def _table_spec(method: Method) -> P:
  return P() if method == 'replicated' else P(AXES)


def _slot_specs(slots: Slots, rows: Any, one: Any) -> Slots:
  """`rows` for what has the table's height, `one` for the rest."""
  scratch = rows if slots.scratch_R.size else one
  return Slots(tuple(rows for _ in slots.moments), count=one, seed=one, scratch_R=scratch)


def _shard_map(f: Callable[..., Any], mesh: jax.sharding.Mesh, in_specs: Any, out_specs: Any) -> Callable[..., Any]:
  """Unchecked replication: an all-gather's result is the same everywhere, but the checker cannot know."""
  return jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
