"""The stacked table: the rows of all fields in one array, with columns for one purpose or several.

A `Table` is the arrays, `Placed` all that is static of them: what a row holds, where rows lie, how
they are trained. Rows of all purposes lie side by side in a row, so what several parts of a
model read of a value (its embedding, its first-order weight) is one lookup and one update.

Ids are rows of the whole table in logical order, on any mesh. Differentiate with respect to the
rows that a lookup gives, never the table. With one device, lookup and update are a plain gather and
a plain update of the rows of the batch; on several, see `exchange.py`.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any, Literal, NamedTuple, Optional
import zlib

import jax
from jax import P
import jax.numpy as jnp
import numpy as np

from rec_sparse.embedding import exchange as exchange_lib
from rec_sparse.embedding import gather
from rec_sparse.embedding import optimizers
from rec_sparse.embedding import packed_numbers
from rec_sparse.embedding import packing as packing_lib
from rec_sparse.embedding import placement
from rec_sparse.embedding import storage
from rec_sparse.embedding import tiny_fields

SMALLEST = 2.0**-20  # scale of a table; below it, rows are multiplied by it
Rows = dict[str, jax.Array]  # purpose -> rows_BxFxD, or their gradients; D is its width
ExchangeName = Literal['reduce_scatter', 'all_to_all']
LayoutName = Literal['rows', 'packed']
EXCHANGES: dict[ExchangeName, exchange_lib.Exchange] = {
  'reduce_scatter': exchange_lib.REDUCE_SCATTER,
  'all_to_all': exchange_lib.ALL_TO_ALL,
}


class Table(NamedTuple):
  """The arrays of a table: all that a step changes, and all that a checkpoint holds of it."""

  # columns of all purposes, stored as `storage` and `placement` say, packed as `packing` does
  rows_RxD: jax.Array
  slots: optimizers.Slots | None  # what the optimizer keeps; None where nothing is trained
  # the rows of tiny fields, a table on every device; with it those in rows_RxD are stale
  tiny: Optional['Table'] = None
  # float32 scalar: a row is what is stored times this, so all rows decay by one product; None: 1
  scale: jax.Array | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Placed:
  """What is static of a table."""

  columns: Mapping[str, int]  # purpose -> width, in their order in a row
  sizes: tuple[int, ...]  # rows of each field, stacked in this order
  dtype: storage.TableDtype
  start: float  # columns start uniform in +- this
  optimizer: optimizers.TableOptimizer
  mesh: jax.sharding.Mesh  # rows lie over all its devices, batches over `data`
  exchange: ExchangeName = 'reduce_scatter'  # how rows travel between devices
  # `packed`: several rows in one of 128 lanes, but those of tiny fields
  layout: LayoutName = 'rows'
  decays_all: bool = False  # `Rates.weight_decay` is of all rows, not of touched ones

  @functools.cached_property
  def tiny(self) -> tiny_fields.Fields | None:
    """Fields whose rows need not travel; None on one device."""
    return tiny_fields.choose(self.sizes, self.mesh)

  @functools.cached_property
  def packing(self) -> packing_lib.Packing | None:
    """Of the rows in physical rows; None: a row is one."""
    return packing_lib.of(sum(self.columns.values())) if self.layout == 'packed' else None

  @property
  def height(self) -> int:
    """R: rows of the table with its padding."""
    together = self.packing.per if self.packing else 1
    return placement.padded_rows(sum(self.sizes), self.mesh.size, together)

  @functools.cached_property
  def borders(self) -> tuple[int, ...]:
    """Columns at which a purpose begins, without the first."""
    return tuple(np.cumsum(list(self.columns.values())).tolist()[:-1])


class Lookup(NamedTuple):
  """What a lookup gives."""

  rows: Rows  # float32; without meaning for ids outside of the table
  dropped: jax.Array  # int32 scalar, over all devices; anything but 0 is an error


class Updated(NamedTuple):
  """What an update gives."""

  table: Table
  dropped: jax.Array  # as in `Lookup`


def init(placed: Placed, key: jax.Array, seed: jax.Array) -> Table:
  """A table at step 0 in logical row order, see `from_logical`; `seed` is that of the rounding.

  What 'embedding' columns start from does not depend on the other columns, so arms of a comparison
  start from the same embeddings, whatever else their models read.
  """
  starts = []
  for purpose, width in placed.columns.items():
    own = key if purpose == 'embedding' else jax.random.fold_in(key, zlib.crc32(purpose.encode()))
    starts.append(
      jax.random.uniform(own, (placed.height, width), minval=-placed.start, maxval=placed.start)
    )

  rows_RxD = storage.encode(jnp.concatenate(starts, axis=1), placed.dtype)
  scale = jnp.float32(1) if placed.decays_all else None
  return Table(rows_RxD, placed.optimizer.init(rows_RxD, seed), scale=scale)


def lookup(placed: Placed, table: Table, ids_BxF: jax.Array) -> Lookup:
  """The rows of the ids, by purpose."""
  exchange = _exchange(placed)
  if placed.tiny is None:
    found = _lookup(placed, exchange, table, ids_BxF)
    return Lookup(by_purpose(placed, _exact(found.rows_CxFxD, table)), found.dropped)

  ids = tiny_fields.split_ids(placed.tiny, ids_BxF)
  tiny = _lookup(placed, exchange_lib.EVERYWHERE, table.tiny, ids.tiny, is_tiny=True)
  found = _lookup(placed, exchange, table, ids.large)
  rows_BxFxD = tiny_fields.join(placed.tiny, tiny.rows_CxFxD, found.rows_CxFxD)
  return Lookup(by_purpose(placed, _exact(rows_BxFxD, table)), found.dropped)


def read(placed: Placed, table: Table, ids_BxF: jax.Array) -> Rows:
  """The rows of the ids by reduce-scatter, which cannot drop any: for evaluation."""
  return lookup(dataclasses.replace(placed, exchange='reduce_scatter'), table, ids_BxF).rows


def update(
  placed: Placed, table: Table, ids_BxF: jax.Array, grads: Rows, rates: optimizers.Rates
) -> Updated:
  """One step of the optimizer, from the gradients of the rows that `lookup` gave; donate the table.

  Ids outside of the table train nothing.
  """
  exchange = _exchange(placed)
  grads_BxFxD = jnp.concatenate([grads[purpose] for purpose in placed.columns], axis=2)
  if placed.tiny is None:
    return _update(placed, exchange, table, ids_BxF, grads_BxFxD, rates)

  def row_of_stack(rows_O: jax.Array) -> jax.Array:
    return jnp.asarray(placed.tiny.rows_Y)[rows_O]

  ids = tiny_fields.split_ids(placed.tiny, ids_BxF)
  grads_of = tiny_fields.split(placed.tiny, grads_BxFxD)
  everywhere = exchange_lib.EVERYWHERE._replace(logical_row=row_of_stack)
  tiny = _update(placed, everywhere, table.tiny, ids.tiny, grads_of.tiny, rates, is_tiny=True)
  spread = table._replace(tiny=None)
  updated = _update(placed, exchange, spread, ids.large, grads_of.large, rates)
  return updated._replace(table=updated.table._replace(tiny=tiny.table))


def by_purpose(placed: Placed, x_XxD: jax.Array) -> Rows:
  """An array of whole rows, its last axis cut into the columns of each purpose."""
  parts = jnp.split(x_XxD, placed.borders, axis=-1)
  return dict(zip(placed.columns, parts, strict=True))


def abstract(placed: Placed) -> Table:
  """Shapes and dtypes of what `init` gives."""
  return jax.eval_shape(lambda: init(placed, jax.random.key(0), jnp.int32(0)))


def shardings(placed: Placed, table: Table) -> Table:
  """Where each leaf of a table, or of the shapes of one, lives."""
  one = placement.sharding(placed.mesh, replicated=True)
  spread = _by_height(table._replace(tiny=None), placement.sharding(placed.mesh), one)
  return spread._replace(tiny=jax.tree.map(lambda _: one, table.tiny))


def without_slots(table: Table) -> Table:
  """What a lookup needs."""
  tiny = None if table.tiny is None else without_slots(table.tiny)
  return table._replace(slots=None, tiny=tiny)


def settled(table: Table) -> Table:
  """The same rows with nothing left to multiply: for those that read the array alone."""
  if table.scale is None:
    return table
  return table._replace(rows_RxD=_times(table.rows_RxD, table.scale), scale=None)


def with_rows_of(table: Table, other: Table) -> Table:
  """The table with the rows of another one that is placed alike; what its optimizer keeps stays."""
  tiny = None if table.tiny is None else with_rows_of(table.tiny, other.tiny)
  return table._replace(rows_RxD=settled(other).rows_RxD, tiny=tiny)


def from_logical(placed: Placed, table: Table) -> Table:
  """A table in logical row order (as `init` gives and checkpoints hold it) -> as it is trained."""
  arrays = tuple(placement.from_logical(array, placed.mesh) for array in _arrays(table))
  table = _with_arrays(table, arrays)
  if placed.tiny is not None:
    tiny = _with_arrays(table, tiny_fields.take(placed.tiny, arrays, placed.mesh))
    table = table._replace(tiny=_of_its_own(placed, tiny))
  return table if placed.packing is None else _packed(placed, table)


def to_logical(placed: Placed, table: Table) -> Table:
  """The inverse of `from_logical`: row after row, whatever the number of devices."""
  arrays = _arrays(table)
  if placed.packing is not None:
    arrays = _unpacked(placed, arrays)
  if placed.tiny is not None:
    arrays = tiny_fields.put(placed.tiny, arrays, _arrays(table.tiny), placed.mesh)
  arrays = tuple(placement.to_logical(array, placed.mesh) for array in arrays)
  return _with_arrays(table, arrays)._replace(tiny=None)


def _packed(placed: Placed, table: Table) -> Table:
  """The table in physical rows, without scratch cells: its duplicates are summed another way."""
  arrays = []
  for array in _arrays(table):
    by_rows = packing_lib.Pack(placed.packing)
    pack = by_rows if array.ndim == 2 else packed_numbers.Pack()
    arrays.append(placement.by_device(pack, array, placed.mesh))
  table = _with_arrays(table, tuple(arrays))
  if table.slots is None:
    return table
  return table._replace(slots=table.slots._replace(scratch_R=jnp.zeros(0, jnp.int32)))


def _unpacked(placed: Placed, arrays_RxL: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
  """The arrays in rows again; where there are no slots, those are not among them."""
  arrays = []
  for packed_RxL, like in zip(arrays_RxL, _arrays(abstract(placed)), strict=False):
    of_numbers = packed_numbers.Unpack(placed.height // placed.mesh.size)
    unpack = packing_lib.Unpack(placed.packing) if like.ndim == 2 else of_numbers
    arrays.append(placement.by_device(unpack, packed_RxL, placed.mesh))
  return tuple(arrays)


def _held(placed: Placed, rows_RxD: jax.Array, is_tiny: bool) -> exchange_lib.Held:
  packing = placed.packing
  if packing is None or is_tiny:
    read = functools.partial(gather.read_rows, rows_RxD)
    return exchange_lib.Held(rows_RxD.shape[0], read, packing)
  read = functools.partial(packing_lib.read, packing, rows_RxD)
  return exchange_lib.Held(rows_RxD.shape[0] * packing.per, read, packing)


def _exact(stored_BxFxD: jax.Array, table: Table) -> jax.Array:
  """Rows of `table` as an exchange hands them over -> float32, times its scale."""
  rows_BxFxD = stored_BxFxD.astype(jnp.float32)
  return rows_BxFxD if table.scale is None else rows_BxFxD * table.scale


def _times(stored_RxD: jax.Array, scale: jax.Array) -> jax.Array:
  """All rows times a scalar, stored as they were."""
  dtype = 'float32' if stored_RxD.dtype == jnp.float32 else 'bfloat16'
  return storage.encode(storage.decode(stored_RxD).astype(jnp.float32) * scale, dtype)


def _folded(table: Table) -> Table:
  """The same rows by a scale far from underflow; a power of two moves no bit of a float32 row.

  A loop of no turn or one, because XLA changes what a loop carries in place, but copies what a
  condition returns.
  """
  if table.scale is None:
    return table

  def is_small(carry: tuple[jax.Array, jax.Array]) -> jax.Array:
    _, scale = carry
    return scale < SMALLEST

  def fold(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    rows_RxD, scale = carry
    return _times(rows_RxD, jnp.float32(SMALLEST)), scale / SMALLEST

  rows_RxD, scale = jax.lax.while_loop(is_small, fold, (table.rows_RxD, table.scale))
  return table._replace(rows_RxD=rows_RxD, scale=scale)


def _exchange(placed: Placed) -> exchange_lib.Exchange:
  return exchange_lib.ONE_DEVICE if placed.mesh.size == 1 else EXCHANGES[placed.exchange]


def _lookup(
  placed: Placed,
  exchange: exchange_lib.Exchange,
  table: Table,
  ids_BxF: jax.Array,
  *,
  is_tiny: bool = False,
) -> exchange_lib.Found:
  def look(rows_RxD: jax.Array, ids_CxF: jax.Array) -> exchange_lib.Found:
    return exchange.lookup(_held(placed, rows_RxD, is_tiny), ids_CxF)

  in_specs = exchange.spec, P('data')
  out_specs = exchange_lib.Found(P('data'), P())
  local = _over_devices(placed, look, in_specs, out_specs)
  return local(table.rows_RxD, ids_BxF)


def _update(
  placed: Placed,
  exchange: exchange_lib.Exchange,
  table: Table,
  ids_BxF: jax.Array,
  grads_BxFxD: jax.Array,
  rates: optimizers.Rates,
  *,
  is_tiny: bool = False,
) -> Updated:
  def step(table, ids_CxF, grads_CxFxD, rates):
    held = _held(placed, table.rows_RxD, is_tiny)
    arrived = exchange.deliver(held, ids_CxF, grads_CxFxD)
    rows_RxD, slots = placed.optimizer.update(
      table.rows_RxD,
      table.slots,
      arrived.ids_O,
      arrived.grads_OxD,
      rates,
      logical_row=exchange.logical_row,
      scale=table.scale,
      packing=None if is_tiny else placed.packing,
    )
    scale = table.scale
    if scale is not None:
      scale = optimizers.decayed(scale, rates)
    updated = table._replace(rows_RxD=rows_RxD, slots=slots, scale=scale)
    return Updated(_folded(updated), arrived.dropped)

  specs = _by_height(table, exchange.spec, P())
  in_specs = specs, P('data'), P('data'), P()
  local = _over_devices(placed, step, in_specs, out_specs=Updated(specs, P()))
  return local(table, ids_BxF, grads_BxFxD, rates)


def _over_devices(
  placed: Placed, f: Callable[..., Any], in_specs: Any, out_specs: Any
) -> Callable[..., Any]:
  """`f` on what each device has; with one device, `f` itself.

  Unchecked replication: an all-gather's result is the same everywhere, but the checker cannot know.
  """
  if placed.mesh.size == 1:
    return f
  return jax.shard_map(f, mesh=placed.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def _by_height(table: Table, rows: Any, one: Any) -> Table:
  """`rows` for each leaf that holds something of each row, `one` for scalars and what is empty."""
  return jax.tree.map(lambda leaf: rows if leaf.ndim and leaf.shape[0] else one, table)


def _arrays(table: Table) -> tuple[jax.Array, ...]:
  """What a table holds of each row: the row, its moments, and which of its entries are kept."""
  if table.slots is None:
    return (table.rows_RxD,)
  return table.rows_RxD, *table.slots.of_rows


def _with_arrays(table: Table, arrays_RxX: tuple[jax.Array, ...]) -> Table:
  """The table with others in place of its `_arrays`."""
  rows_RxD, *of_rows = arrays_RxX
  if table.slots is None:
    return table._replace(rows_RxD=rows_RxD)
  return table._replace(rows_RxD=rows_RxD, slots=table.slots.with_of_rows(of_rows))


def _of_its_own(placed: Placed, tiny: Table) -> Table:
  """A stack with scalars and scratch cells of its own: no buffer is part of a state twice."""
  if tiny.scale is not None:
    tiny = tiny._replace(scale=jnp.copy(tiny.scale))
  if tiny.slots is None:
    return tiny
  cells = tiny.rows_RxD.shape[0] if tiny.slots.scratch_R.size else 0
  everywhere = placement.sharding(placed.mesh, replicated=True)
  slots = tiny.slots._replace(
    count=jnp.copy(tiny.slots.count),
    seed=jnp.copy(tiny.slots.seed),
    scratch_R=jnp.zeros(cells, jnp.int32, device=everywhere),
  )
  return tiny._replace(slots=slots)
