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
from rec_sparse.embedding import packed_update
from rec_sparse.embedding import packing as packing_lib
from rec_sparse.embedding import routing
from rec_sparse.embedding import storage
from rec_sparse.embedding.packing import Packing
from rec_sparse.embedding.placement import AXES


class Found(NamedTuple):
  """What a lookup gives to a device."""

  rows_CxFxD: jax.Array  # float32 or bfloat16; without meaning for ids outside of the table
  dropped: jax.Array  # int32 scalar, over all devices; anything but 0 is an error


class Held(NamedTuple):
  """The rows of one device, as an exchange knows them."""

  rows: int  # R
  read: Callable[[jax.Array], jax.Array]  # local rows_O -> rows_OxD as they are stored
  # where it is not None, rows and their gradients are permuted in physical rows alone, and
  # occurrences lie field after field, so that examples lie along the lanes as they do in networks
  packing: Packing | None


class Delivered(NamedTuple):
  """Gradients where they are needed: on the devices that hold the rows."""

  ids_O: jax.Array  # local rows; R or more where no row of this device is meant
  grads_OxD: jax.Array  # may still meet on the same row
  dropped: jax.Array  # as in `Found`


class Exchange(NamedTuple):
  """Where the rows of a table lie, and what is sent to read and to train them."""

  spec: P  # of all that has the height of the table
  lookup: Callable[[Held, jax.Array], Found]  # (rows of this device, ids_CxF)
  # (rows of this device, ids_CxF, grads_CxFxD)
  deliver: Callable[[Held, jax.Array, jax.Array], Delivered]
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
  ids_Q = routing.my_share(_flat_ids(held, ids_CxF), fill=shards * held.rows)
  plan = routing.route(ids_Q, shards, held.rows)

  asked = jnp.zeros(shards * plan.capacity, jnp.int32)
  asked = asked.at[plan.slot_Q].set(plan.local_rows_Q, mode='drop')
  found = held.read(routing.swap(asked, shards))
  rows_QxD = _answers(held.packing, routing.swap(found, shards), plan)
  rows_OxD = lax.all_gather(storage.decode(rows_QxD), 'model', tiled=True)[: ids_CxF.size]
  return Found(_by_example(held, rows_OxD, ids_CxF.shape), lax.psum(plan.dropped, AXES))


def _answers(packing: Packing | None, answers: jax.Array, plan: routing.Route) -> jax.Array:
  """rows_QxD of the ids that were routed, in their own order; 0 where an id has no slot."""
  if packing is None:
    sorted_QxD = answers.at[plan.slot_Q].get(mode='fill', fill_value=0)
    return jnp.zeros_like(sorted_QxD).at[plan.order_Q].set(sorted_QxD, unique_indices=True)

  slot_Q = _unsorted(plan)
  spare = -answers.shape[0] % packing.per
  packed = packing_lib.Pack(packing)(jnp.pad(answers, ((0, spare), (0, 0))))
  rows_QxD = packing_lib.read(packing, packed, slot_Q)
  return jnp.where((slot_Q < answers.shape[0])[:, None], rows_QxD, jnp.zeros_like(rows_QxD))


def _unsorted(plan: routing.Route) -> jax.Array:
  """The slot of each id, in the order of the ids."""
  _, slot_Q = lax.sort_key_val(plan.order_Q, plan.slot_Q)
  return slot_Q


def _deliver_here(held: Held, ids_CxF: jax.Array, grads_CxFxD: jax.Array) -> Delivered:
  return Delivered(*_flat(held, ids_CxF, grads_CxFxD), jnp.int32(0))


def _deliver_all_gather(held: Held, ids_CxF: jax.Array, grads_CxFxD: jax.Array) -> Delivered:
  """Every device sees all gradients and keeps those of its own rows."""
  ids_O, grads_OxD = lax.all_gather(_flat(held, ids_CxF, grads_CxFxD), 'data', tiled=True)
  local_O, mine_O = routing.my_rows(ids_O, held.rows)
  return Delivered(jnp.where(mine_O, local_O, held.rows), grads_OxD, jnp.int32(0))


def _deliver_all_to_all(held: Held, ids_CxF: jax.Array, grads_CxFxD: jax.Array) -> Delivered:
  """Gradients summed per distinct id, to the owners; they sum over devices."""
  shards = lax.axis_size(AXES)
  ids_O, grads_OxD = _flat(held, ids_CxF, grads_CxFxD)
  ids_Q = routing.my_share(ids_O, fill=shards * held.rows)
  grads_QxD = routing.my_share(grads_OxD, fill=0)
  plan = routing.route(ids_Q, shards, held.rows)

  # the end of a run holds its sum
  slot_Q = jnp.where(plan.last_Q, plan.slot_Q, shards * plan.capacity)
  ids = jnp.full(shards * plan.capacity, held.rows, jnp.int32)
  ids = ids.at[slot_Q].set(plan.local_rows_Q, mode='drop')
  if held.packing is None:
    summed_QxD = duplicates.sum_runs(plan.first_Q, grads_QxD[plan.order_Q])
    grads = jnp.zeros((shards * plan.capacity, grads_QxD.shape[1]))
    grads = grads.at[slot_Q].set(summed_QxD, mode='drop')
  else:
    grads = packed_update.by_row(held.packing, _unsorted(plan), grads_QxD, shards * plan.capacity)

  dropped = lax.psum(plan.dropped, AXES)
  return Delivered(routing.swap(ids, shards), routing.swap(grads, shards), dropped)


def _deliver_all_reduce(held: Held, ids_CxF: jax.Array, grads_CxFxD: jax.Array) -> Delivered:
  """The gradient of every row that any device touched: the same on all devices."""
  ids_O, grads_OxD = _flat(held, ids_CxF, grads_CxFxD)
  if held.packing is None:
    touched_R, grads_RxD = duplicates.by_row_sorted(ids_O, grads_OxD, held.rows)
  else:
    inside = {'mode': 'drop', 'wrap_negative_indices': False}
    touched_R = jnp.zeros(held.rows, bool).at[ids_O].set(True, **inside)
    grads_RxD = packed_update.by_row(held.packing, ids_O, grads_OxD, held.rows)
  grads_RxD, touches_R = lax.psum((grads_RxD, touched_R.astype(jnp.int32)), 'data')
  ids_R = jnp.where(touches_R > 0, jnp.arange(held.rows, dtype=jnp.int32), held.rows)
  return Delivered(ids_R, grads_RxD, jnp.int32(0))


def _rows(held: Held, ids_CxF: jax.Array) -> jax.Array:
  """rows_CxFxD, decoded to float32 or bfloat16."""
  rows_OxD = storage.decode(held.read(_flat_ids(held, ids_CxF)))
  return _by_example(held, rows_OxD, ids_CxF.shape)


def _flat_ids(held: Held, ids_CxF: jax.Array) -> jax.Array:
  """ids_O."""
  return ids_CxF.reshape(-1) if held.packing is None else ids_CxF.T.reshape(-1)


def _by_example(held: Held, rows_OxD: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """rows_CxFxD of ids of `shape` that were flat."""
  examples, fields = shape
  if held.packing is None:
    return rows_OxD.reshape(examples, fields, -1)
  return rows_OxD.reshape(fields, examples, -1).swapaxes(0, 1)


def _flat(held: Held, ids_CxF: jax.Array, grads_CxFxD: jax.Array) -> tuple[jax.Array, jax.Array]:
  """(ids_O, grads_OxD)."""
  if held.packing is not None:
    grads_CxFxD = grads_CxFxD.swapaxes(0, 1)
  return _flat_ids(held, ids_CxF), grads_CxFxD.reshape(-1, grads_CxFxD.shape[-1])


def _same_row(rows_O: jax.Array) -> jax.Array:
  return rows_O


_SHARDED = P(AXES)
REDUCE_SCATTER = Exchange(
  _SHARDED, _lookup_reduce_scatter, _deliver_all_gather, routing.logical_row
)
ALL_TO_ALL = Exchange(_SHARDED, _lookup_all_to_all, _deliver_all_to_all, routing.logical_row)
EVERYWHERE = Exchange(P(), _lookup_here, _deliver_all_reduce, _same_row)
ONE_DEVICE = Exchange(P(), _lookup_here, _deliver_here, _same_row)
