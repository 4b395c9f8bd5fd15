"""Which shard owns each id, and the plan of an all-to-all to the owners; all inside shard_map.

Equal ids are asked once. The buckets have a static capacity; ids beyond it are dropped and counted,
and a count other than 0 is an error that the caller must raise. (`lax.ragged_all_to_all` needs no
capacity, but XLA for CPU has none.)
"""

import math
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from rec_sparse.embedding import duplicates
from rec_sparse.embedding.placement import AXES

SLACK = 1.5  # capacity of the buckets over the even share


class Route(NamedTuple):
  """Over the Q ids of one device, sorted by (shard, local row)."""

  capacity: int  # slots per destination
  order_Q: jax.Array  # position of each sorted id in the given ids
  # shard * capacity + place in its bucket; shards * capacity where dropped or padding
  slot_Q: jax.Array
  first_Q: jax.Array  # bool: the first of a run of equal ids
  last_Q: jax.Array  # bool: the last of a run
  local_rows_Q: jax.Array  # row on its shard
  dropped: jax.Array  # int32 scalar: distinct ids of this device without a slot


def bucket_capacity(ids: int, shards: int) -> int:
  """Slots per destination for `ids` ids of one device: SLACK times the even share, and six standard
  deviations.
  """
  share = SLACK * ids / shards
  return min(ids, math.ceil(share + 6 * share**0.5))


def route(ids_Q: jax.Array, shards: int, local_rows: int) -> Route:
  """Plans the exchange; ids outside of the table (padding) get no slot and are not counted as
  dropped.
  """
  capacity = bucket_capacity(ids_Q.shape[0], shards)
  inside_Q = (ids_Q >= 0) & (ids_Q < shards * local_rows)
  stored_Q = jnp.where(inside_Q, ids_Q % shards * local_rows + ids_Q // shards, shards * local_rows)
  stored_Q, order_Q = lax.sort_key_val(stored_Q, jnp.arange(ids_Q.shape[0], dtype=jnp.int32))
  first_Q, last_Q = duplicates.run_ends(stored_Q)
  rank_Q = jnp.cumsum(first_Q) - 1  # of each distinct id, over all buckets
  starts = jnp.searchsorted(stored_Q, jnp.arange(shards + 1, dtype=jnp.int32) * local_rows)
  shard_Q = stored_Q // local_rows
  place_Q = rank_Q - rank_Q.at[starts[shard_Q]].get(mode='clip')
  fits_Q = place_Q < capacity
  routed_Q = shard_Q < shards
  return Route(
    capacity=capacity,
    order_Q=order_Q,
    slot_Q=jnp.where(routed_Q & fits_Q, shard_Q * capacity + place_Q, shards * capacity),
    first_Q=first_Q,
    last_Q=last_Q,
    local_rows_Q=stored_Q % local_rows,
    dropped=jnp.sum(first_Q & routed_Q & ~fits_Q, dtype=jnp.int32),
  )


def my_rows(ids: jax.Array, local_rows: int) -> tuple[jax.Array, jax.Array]:
  """(local row, whether it lives here)."""
  shards = lax.axis_size(AXES)
  return ids // shards, (ids >= 0) & (ids < shards * local_rows) & (
    ids % shards == lax.axis_index(AXES)
  )


def logical_row(local_rows_O: jax.Array) -> jax.Array:
  """Row of the whole table that this device keeps as its local row."""
  return local_rows_O * lax.axis_size(AXES) + lax.axis_index(AXES)


def my_share(x_OxX: jax.Array, fill: int) -> jax.Array:
  """This device's part of what all devices along `model` hold alike."""
  parts = lax.axis_size('model')
  size = -(-x_OxX.shape[0] // parts)
  padding = [(0, size * parts - x_OxX.shape[0])] + [(0, 0)] * (x_OxX.ndim - 1)
  return lax.dynamic_slice_in_dim(
    jnp.pad(x_OxX, padding, constant_values=fill), lax.axis_index('model') * size, size
  )


def swap(x: jax.Array, shards: int) -> jax.Array:
  """(shards * capacity, ...) by destination -> the same by source."""
  return lax.all_to_all(x.reshape(shards, -1, *x.shape[1:]), AXES, 0, 0).reshape(x.shape)
