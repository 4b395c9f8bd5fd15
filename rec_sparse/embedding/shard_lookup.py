"""Lookups inside shard_map: L rows of the table and C examples on this device. See sharded.py."""

from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from rec_sparse.embedding import gather
from rec_sparse.embedding import routing
from rec_sparse.embedding import storage
from rec_sparse.embedding.placement import AXES


class Lookup(NamedTuple):
  rows_BxFxD: jax.Array  # float32 or bfloat16; without meaning for ids outside of the table
  dropped: jax.Array  # int32 scalar, over all devices; anything but 0 is an error


def lookup_reduce_scatter(table_LxD: jax.Array, ids_CxF: jax.Array) -> Lookup:
  """Each device looks up its own rows for the whole batch; the sum over devices has one non-zero
  term.
  """
  ids_BxF = lax.all_gather(ids_CxF, 'data', tiled=True)
  local_BxF, mine_BxF = routing.my_rows(ids_BxF, table_LxD.shape[0])
  rows_BxFxD = jnp.where(mine_BxF[..., None], gather.lookup_rows(table_LxD, local_BxF), 0)
  rows_CxFxD = lax.psum_scatter(rows_BxFxD, 'data', scatter_dimension=0, tiled=True)
  return Lookup(lax.psum(rows_CxFxD, 'model'), jnp.int32(0))


def lookup_all_to_all(table_LxD: jax.Array, ids_CxF: jax.Array, slack: float) -> Lookup:
  """Ids to their owners and rows back, each distinct id once per device."""
  shards, local_rows = lax.axis_size(AXES), table_LxD.shape[0]
  ids_Q = routing.my_share(ids_CxF.reshape(-1), fill=shards * local_rows)
  capacity = routing.bucket_capacity(ids_Q.shape[0], shards, slack)
  plan = routing.route(ids_Q, shards, local_rows, capacity)
  asked = (
    jnp.zeros(shards * capacity, jnp.int32).at[plan.slot_Q].set(plan.local_rows_Q, mode='drop')
  )
  (found,) = gather.gather_rows((table_LxD,), routing.swap(asked, shards))
  answers = routing.swap(found, shards).at[plan.slot_Q].get(mode='fill', fill_value=0)
  rows_QxD = jnp.zeros_like(answers).at[plan.order_Q].set(answers, unique_indices=True)
  rows_NxD = lax.all_gather(storage.decode(rows_QxD), 'model', tiled=True)[: ids_CxF.size]
  return Lookup(rows_NxD.reshape(*ids_CxF.shape, -1), lax.psum(plan.dropped, AXES))
