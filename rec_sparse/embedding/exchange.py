"""How rows travel between the examples that read them and the devices that hold them.

Ids arrive sharded over `data` and replicated over `model`; rows leave, and their gradients come
back, the same way, because the dense layers read whole examples and `model` splits their weights.
What a lookup and an update have to send is an `Exchange`; both its functions run inside shard_map,
where R counts the rows and C the examples of one device.

- `REDUCE_SCATTER`: every device sees all ids, looks up the rows that it owns, and the partial
  results are reduce-scattered; gradients are all-gathered. Nothing can overflow; each device
  handles the whole batch.
- `ALL_TO_ALL`: each device takes its own share of the ids (over `model` too), asks each owner once
  per distinct id, and sends each owner summed gradients. Work and traffic per device shrink with
  the number of devices. The buckets have a static capacity: `dropped` counts, over all devices, the
  ids beyond it. The caller must treat any as an error.
- `EVERYWHERE`: every device holds all rows, nothing is sent to look up, and a gradient of every row
  is all-reduced.
- `ONE_DEVICE`: nothing is sent.

No exchange holds or sends anything of the size of a sharded table.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import lax
from jax import P
import jax.numpy as jnp

from rec_sparse.embedding import duplicates
from rec_sparse.embedding import routing
from rec_sparse.embedding import storage
from rec_sparse.embedding.placement import AXES


class Found(NamedTuple):
  """What a lookup gives to a device."""

  rows_CxFxD: jax.Array  # float32 or bfloat16; without meaning for ids outside of the table
  dropped: jax.Array  # int32 scalar, over all devices; anything but 0 is an error


class Held(NamedTuple):
  """The rows of one device, as an exchange reads them."""

  rows: int  # R
  read: Callable[[jax.Array], jax.Array]  # local rows_O -> rows_OxD as they are stored


class Delivered(NamedTuple):
  """Gradients where they are needed: on the devices that hold the rows."""

  ids_O: jax.Array  # local rows; R or more where no row of this device is meant
  grads_OxD: jax.Array  # may still meet on the same row
  dropped: jax.Array  # as in `Found`


class Exchange(NamedTuple):
  """Where the rows of a table lie, and what is sent to read and to train them."""

  spec: P  # of all that has the height of the table
  lookup: Callable[[Held, jax.Array], Found]  # (rows of this device, ids_CxF)
  deliver: Callable[[int, jax.Array, jax.Array], Delivered]  # (R, ids_CxF, grads_CxFxD)
  # local rows -> rows of the whole table, which the noise of the stochastic rounding is drawn for
  logical_row: Callable[[jax.Array], jax.Array]


def _lookup_here(held: Held, ids_CxF: jax.Array) -> Found:
  return Found(_rows(held, ids_CxF), jnp.int32(0))


def _lookup_reduce_scatter(held: Held, ids_CxF: jax.Array) -> Found:
  """The sum over devices has one non-zero term."""
  ids_BxF = lax.all_gather(ids_CxF, 'data', tiled=True)
  local_BxF, mine_BxF = routing.my_rows(ids_BxF, held.rows)
  rows_BxFxD = jnp.where(mine_BxF[..., None], _rows(held, local_BxF), 0)

  rows_CxFxD = lax.psum_scatter(rows_BxFxD, 'data', scatter_dimension=0, tiled=True)
  return Found(lax.psum(rows_CxFxD, 'model'), jnp.int32(0))


def _lookup_all_to_all(held: Held, ids_CxF: jax.Array) -> Found:
  """Ids to their owners and rows back, each distinct id once per device."""
  shards = lax.axis_size(AXES)
  ids_Q = routing.my_share(ids_CxF.reshape(-1), fill=shards * held.rows)
  plan = routing.route(ids_Q, shards, held.rows)

  asked = jnp.zeros(shards * plan.capacity, jnp.int32)
  asked = asked.at[plan.slot_Q].set(plan.local_rows_Q, mode='drop')
  found = held.read(routing.swap(asked, shards))
  answers = routing.swap(found, shards).at[plan.slot_Q].get(mode='fill', fill_value=0)

  rows_QxD = jnp.zeros_like(answers).at[plan.order_Q].set(answers, unique_indices=True)
  rows_OxD = lax.all_gather(storage.decode(rows_QxD), 'model', tiled=True)[: ids_CxF.size]
  return Found(rows_OxD.reshape(*ids_CxF.shape, -1), lax.psum(plan.dropped, AXES))


def _deliver_here(rows: int, ids_CxF: jax.Array, grads_CxFxD: jax.Array) -> Delivered:
  del rows
  return Delivered(*_flat(ids_CxF, grads_CxFxD), jnp.int32(0))


def _deliver_all_gather(rows: int, ids_CxF: jax.Array, grads_CxFxD: jax.Array) -> Delivered:
  """Every device sees all gradients and keeps those of its own rows."""
  ids_O, grads_OxD = lax.all_gather(_flat(ids_CxF, grads_CxFxD), 'data', tiled=True)
  local_O, mine_O = routing.my_rows(ids_O, rows)
  return Delivered(jnp.where(mine_O, local_O, rows), grads_OxD, jnp.int32(0))


def _deliver_all_to_all(rows: int, ids_CxF: jax.Array, grads_CxFxD: jax.Array) -> Delivered:
  """Gradients summed per distinct id, to the owners; they sum over devices."""
  shards = lax.axis_size(AXES)
  ids_O, grads_OxD = _flat(ids_CxF, grads_CxFxD)
  ids_Q = routing.my_share(ids_O, fill=shards * rows)
  grads_QxD = routing.my_share(grads_OxD, fill=0)
  plan = routing.route(ids_Q, shards, rows)

  summed_QxD = duplicates.sum_runs(plan.first_Q, grads_QxD[plan.order_Q])
  # the end of a run holds its sum
  slot_Q = jnp.where(plan.last_Q, plan.slot_Q, shards * plan.capacity)
  ids = jnp.full(shards * plan.capacity, rows, jnp.int32)
  ids = ids.at[slot_Q].set(plan.local_rows_Q, mode='drop')
  grads = jnp.zeros((shards * plan.capacity, grads_QxD.shape[1]))
  grads = grads.at[slot_Q].set(summed_QxD, mode='drop')

  dropped = lax.psum(plan.dropped, AXES)
  return Delivered(routing.swap(ids, shards), routing.swap(grads, shards), dropped)


def _deliver_all_reduce(rows: int, ids_CxF: jax.Array, grads_CxFxD: jax.Array) -> Delivered:
  """The gradient of every row that any device touched: the same on all devices."""
  touched_R, grads_RxD = duplicates.by_row_sorted(*_flat(ids_CxF, grads_CxFxD), rows)
  grads_RxD, touches_R = lax.psum((grads_RxD, touched_R.astype(jnp.int32)), 'data')
  ids_R = jnp.where(touches_R > 0, jnp.arange(rows, dtype=jnp.int32), rows)
  return Delivered(ids_R, grads_RxD, jnp.int32(0))


def _rows(held: Held, ids_CxF: jax.Array) -> jax.Array:
  """rows_CxFxD, decoded to float32 or bfloat16."""
  return storage.decode(held.read(ids_CxF.reshape(-1))).reshape(*ids_CxF.shape, -1)


def _flat(ids_CxF: jax.Array, grads_CxFxD: jax.Array) -> tuple[jax.Array, jax.Array]:
  """(ids_O, grads_OxD)."""
  return ids_CxF.reshape(-1), grads_CxFxD.reshape(-1, grads_CxFxD.shape[-1])


def _same_row(rows_O: jax.Array) -> jax.Array:
  return rows_O


_SHARDED = P(AXES)
REDUCE_SCATTER = Exchange(
  _SHARDED, _lookup_reduce_scatter, _deliver_all_gather, routing.logical_row
)
ALL_TO_ALL = Exchange(_SHARDED, _lookup_all_to_all, _deliver_all_to_all, routing.logical_row)
EVERYWHERE = Exchange(P(), _lookup_here, _deliver_all_reduce, _same_row)
ONE_DEVICE = Exchange(P(), _lookup_here, _deliver_here, _same_row)
