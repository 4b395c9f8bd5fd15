"""Updates inside shard_map: L rows of the table and C examples on this device. See sharded.py."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from rec_sparse.embedding import duplicates
from rec_sparse.embedding import optimizers
from rec_sparse.embedding import routing
from rec_sparse.embedding.placement import AXES


class Updated(NamedTuple):
  table_RxD: jax.Array
  slots: optimizers.Slots
  dropped: jax.Array  # int32 scalar, over all devices; anything but 0 is an error


def update_all_gather(
  optimizer: optimizers.TableOptimizer,
  table_LxD: jax.Array,
  slots: optimizers.Slots,
  ids_CxF: jax.Array,
  grads_CxFxD: jax.Array,
  learning_rate: jax.Array,
) -> Updated:
  """Every device sees all gradients and applies those of its own rows."""
  ids_N, grads_NxD = lax.all_gather(flat(ids_CxF, grads_CxFxD), 'data', tiled=True)
  local_N, mine_N = routing.my_rows(ids_N, table_LxD.shape[0])
  local_N = jnp.where(mine_N, local_N, table_LxD.shape[0])
  table_LxD, slots = optimizer.update(
    table_LxD, slots, local_N, grads_NxD, learning_rate, logical_row=routing.logical_row
  )
  return Updated(table_LxD, slots, jnp.int32(0))


def update_all_to_all(
  optimizer: optimizers.TableOptimizer,
  table_LxD: jax.Array,
  slots: optimizers.Slots,
  ids_CxF: jax.Array,
  grads_CxFxD: jax.Array,
  learning_rate: jax.Array,
  slack: float,
) -> Updated:
  """Gradients summed per distinct id, to the owners; they sum over devices."""
  shards, local_rows = lax.axis_size(AXES), table_LxD.shape[0]
  ids_N, grads_NxD = flat(ids_CxF, grads_CxFxD)
  ids_Q, grads_QxD = (
    routing.my_share(ids_N, fill=shards * local_rows),
    routing.my_share(grads_NxD, fill=0),
  )
  capacity = routing.bucket_capacity(ids_Q.shape[0], shards, slack)
  plan = routing.route(ids_Q, shards, local_rows, capacity)
  summed_QxD = duplicates.sum_runs(plan.first_Q, grads_QxD[plan.order_Q])
  slot_Q = jnp.where(plan.last_Q, plan.slot_Q, shards * capacity)  # the end of a run holds its sum
  ids = (
    jnp.full(shards * capacity, local_rows, jnp.int32)
    .at[slot_Q]
    .set(plan.local_rows_Q, mode='drop')
  )
  grads = jnp.zeros((shards * capacity, grads_QxD.shape[1])).at[slot_Q].set(summed_QxD, mode='drop')
  table_LxD, slots = optimizer.update(
    table_LxD,
    slots,
    routing.swap(ids, shards),
    routing.swap(grads, shards),
    learning_rate,
    logical_row=routing.logical_row,
  )
  return Updated(table_LxD, slots, lax.psum(plan.dropped, AXES))


def update_replicated(
  optimizer: optimizers.TableOptimizer,
  table_RxD: jax.Array,
  slots: optimizers.Slots,
  ids_CxF: jax.Array,
  grads_CxFxD: jax.Array,
  learning_rate: jax.Array,
  logical_row: Callable[[jax.Array], jax.Array],
) -> Updated:
  """All-reduces the gradient of every row, then moves the rows that any device touched: the same on
  all devices.
  """
  rows = table_RxD.shape[0]
  unique_N, summed_NxD = duplicates.by_sort(*flat(ids_CxF, grads_CxFxD), rows)
  grads_RxD = (
    jnp.zeros((rows, summed_NxD.shape[1]))
    .at[unique_N]
    .set(summed_NxD, mode='drop', unique_indices=True)
  )
  touched_R = jnp.zeros(rows, jnp.int32).at[unique_N].set(1, mode='drop', unique_indices=True)
  grads_RxD, touched_R = lax.psum((grads_RxD, touched_R), 'data')
  ids_R = jnp.where(touched_R > 0, jnp.arange(rows, dtype=jnp.int32), rows)
  table_RxD, slots = optimizer.update(
    table_RxD, slots, ids_R, grads_RxD, learning_rate, logical_row=logical_row
  )
  return Updated(table_RxD, slots, jnp.int32(0))


def flat(ids_BxF: jax.Array, grads_BxFxD: jax.Array) -> tuple[jax.Array, jax.Array]:
  """(ids_N, grads_NxD)."""
  return ids_BxF.reshape(-1), grads_BxFxD.reshape(-1, grads_BxFxD.shape[-1])
