"""Lookup in, and update of, a table whose rows are spread over all devices of a mesh (`data`,
`model`).

Ids arrive sharded over `data` and replicated over `model`; rows leave, and their gradients come
back, the same way, because the dense layers read whole examples and `model` splits their weights.
Three methods:

- `reduce_scatter`: every device sees all ids, looks up the rows that it owns, and the partial
  results are reduce-scattered; the update all-gathers the gradients. Nothing can overflow; each
  device handles the whole batch.
- `all_to_all`: each device takes its own share of the ids (over `model` too), asks each owner once
  per distinct id, and sends each owner summed gradients. Work and traffic per device shrink with
  the number of devices. The buckets have a static capacity: `dropped` counts, over all devices, the
  ids beyond it. The caller must treat any as an error.
- `replicated`: for the stacked table of tiny fields: every device holds it, nothing is sent to look
  up, and the update all-reduces a gradient of the table's (tiny) size.

With one device each of them is a plain gather and a plain update. No program holds or sends
anything of the size of a sharded table. Differentiate with respect to the rows, never the table.
"""

from collections.abc import Callable
import functools
from typing import Any, Literal

import jax
from jax import P
import jax.numpy as jnp

from rec_sparse.embedding import gather
from rec_sparse.embedding import optimizers
from rec_sparse.embedding import placement
from rec_sparse.embedding import shard_lookup
from rec_sparse.embedding import shard_update
from rec_sparse.embedding.shard_lookup import Lookup
from rec_sparse.embedding.shard_update import Updated

Exchange = Literal['reduce_scatter', 'all_to_all']  # of a table that is spread over the devices
Method = Exchange | Literal['replicated']
SLACK = 1.5  # all_to_all: capacity over the even share; see routing.bucket_capacity


def init_slots(
  optimizer: optimizers.TableOptimizer,
  table_RxD: jax.Array,
  mesh: jax.sharding.Mesh,
  method: Method,
) -> optimizers.Slots:
  """The optimizer's slots, placed as the table is."""
  rows, one = (
    placement.sharding(mesh, replicated=method == 'replicated'),
    placement.sharding(mesh, replicated=True),
  )
  shardings = _slot_specs(jax.eval_shape(optimizer.init, table_RxD), rows, one)
  return jax.jit(optimizer.init, out_shardings=shardings)(table_RxD)


def lookup(
  table_RxD: jax.Array,
  ids_BxF: jax.Array,
  mesh: jax.sharding.Mesh,
  method: Method,
  slack: float = SLACK,
) -> Lookup:
  """The rows of the ids, decoded; `table_RxD` as `placement.place` made it, ids in logical row
  numbers.
  """
  if mesh.size == 1:
    return Lookup(gather.lookup_rows(table_RxD, ids_BxF), jnp.int32(0))
  local = {
    'reduce_scatter': shard_lookup.lookup_reduce_scatter,
    'all_to_all': functools.partial(shard_lookup.lookup_all_to_all, slack=slack),
    'replicated': lambda table_RxD, ids_BxF: Lookup(
      gather.lookup_rows(table_RxD, ids_BxF), jnp.int32(0)
    ),
  }[method]
  return _shard_map(local, mesh, (_table_spec(method), P('data')), Lookup(P('data'), P()))(
    table_RxD, ids_BxF
  )


def update(
  optimizer: optimizers.TableOptimizer,
  table_RxD: jax.Array,
  slots: optimizers.Slots,
  ids_BxF: jax.Array,
  grads_BxFxD: jax.Array,
  learning_rate: jax.Array,
  mesh: jax.sharding.Mesh,
  method: Method,
  slack: float = SLACK,
  logical_row: Callable[[jax.Array], jax.Array] = lambda rows_N: rows_N,
) -> Updated:
  """One step of the optimizer, from the gradients of the looked-up rows; donate table and slots.

  `logical_row` names the rows of a replicated table in the table that they are part of.
  """
  if mesh.size == 1:
    ids_N, grads_NxD = shard_update.flat(ids_BxF, grads_BxFxD)
    return Updated(
      *optimizer.update(table_RxD, slots, ids_N, grads_NxD, learning_rate), jnp.int32(0)
    )
  local = {
    'reduce_scatter': shard_update.update_all_gather,
    'all_to_all': functools.partial(shard_update.update_all_to_all, slack=slack),
    'replicated': functools.partial(shard_update.update_replicated, logical_row=logical_row),
  }[method]
  table = _table_spec(method)
  slot_specs = _slot_specs(slots, table, P())
  return _shard_map(
    functools.partial(local, optimizer),
    mesh,
    (table, slot_specs, P('data'), P('data'), P()),
    Updated(table, slot_specs, P()),
  )(table_RxD, slots, ids_BxF, grads_BxFxD, learning_rate)


def _table_spec(method: Method) -> P:
  return P() if method == 'replicated' else P(placement.AXES)


def _slot_specs(slots: optimizers.Slots, rows: Any, one: Any) -> optimizers.Slots:
  """`rows` for what has the table's height, `one` for the rest."""
  scratch = rows if slots.scratch_R.size else one
  return optimizers.Slots(
    tuple(rows for _ in slots.moments), count=one, seed=one, scratch_R=scratch
  )


def _shard_map(
  f: Callable[..., Any], mesh: jax.sharding.Mesh, in_specs: Any, out_specs: Any
) -> Callable[..., Any]:
  """Unchecked replication: an all-gather's result is the same everywhere, but the checker cannot
  know.
  """
  return jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
