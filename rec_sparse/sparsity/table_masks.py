"""Masks over the entries of the embedding table: which of them are kept, and how many.

A mask lies beside the rows (`optimizers.Slots.mask_RxD`), a boolean for each number, and is stored,
sharded and saved as they are. Entries outside of it are exact zeros that neither move nor carry
moments, so evaluation and export need no mask. Embeddings have masks; other columns of a row, such
as first-order weights, are always kept. Between changes a step works on the rows of its batch, a
change goes over the table.

| rule        | masks start | change, after the update of a step                                 |
|-------------|-------------|--------------------------------------------------------------------|
| `static`    | random      | never                                                              |
| `set`       | random      | drop the smallest entries, grow random ones                        |
| `dsl`       | random      | drop the smallest entries, grow those of the largest |gradients|   |
|             |             | added up since the last change (arXiv 2402.02855; the sum is       |
|             |             | SparseRec's, 2411.12205: the last batch alone would grow its rows) |
| `magnitude` | dense       | once: the largest entries stay                                     |
| `gradual`   | dense       | the largest entries, fewer and fewer along a cubic curve           |

The table has one budget, whatever its fields, and one ranking: exact, and the same on any number of
devices. Equal entries are drawn by lot.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rec_sparse.config import Config
from rec_sparse.embedding import kept_dims
from rec_sparse.embedding import placement
from rec_sparse.embedding import rounding
from rec_sparse.embedding import storage
from rec_sparse.embedding import table as table_lib
from rec_sparse.embedding import tiny_fields
from rec_sparse.sparsity import schedule as schedule_lib
from rec_sparse.sparsity import selection

MOST = 2**31 - 1  # entries, which are counted in int32

# One array for the rows spread over devices, and one for those of tiny fields where there are any.
Parts = tuple[jax.Array, ...]


class Occasion(NamedTuple):
  """What a rule sees of a table at a change."""

  step: jax.Array
  lots: tuple[Parts, Parts]  # uint32, no two entries have the same: to drop by, and to grow by
  among: Parts  # entries that a mask is about
  masks: Parts  # in force
  sizes: Parts  # ranks of |entry|, uint32
  grown: Parts  # ranks of |gradients| added up; () for rules that do not ask for them


class Rule(NamedTuple):
  """How masks start and change."""

  is_due: schedule_lib.IsDue
  change: Callable[['TableSparsifier', Occasion], Parts]
  starts_dense: bool = False
  adds_up: bool = False  # gradients between changes


class TableSparsifier(NamedTuple):
  """A rule with what a run makes of it."""

  rule: Rule
  count: int  # entries that are kept at the end
  entries: int  # of all embeddings
  schedule: schedule_lib.Schedule

  @property
  def dropped(self) -> int:
    """Entries that the mask leaves out at the end."""
    return self.entries - self.count


def _keep(own: TableSparsifier, occasion: Occasion) -> Parts:
  del own
  return occasion.masks


def _grow_at_random(own: TableSparsifier, occasion: Occasion) -> Parts:
  return _exchange(own, schedule_lib.share(own.schedule, occasion.step), occasion, [])


def _grow_by_sum(own: TableSparsifier, occasion: Occasion) -> Parts:
  largest_first = jax.tree.map(jnp.invert, occasion.grown)
  share = schedule_lib.share_with_floor(own.schedule, occasion.step)
  return _exchange(own, share, occasion, [largest_first])


def _exchange(
  own: TableSparsifier, share: jax.Array, occasion: Occasion, growing: list[Parts]
) -> Parts:
  """Drops a share of the kept entries, the smallest, and grows as many, by `growing` and by lot.

  An entry that is dropped may grow again at once.
  """
  drop_lots, grow_lots = occasion.lots
  replaced = jnp.minimum(jnp.ceil(share * own.count).astype(jnp.int32), own.count)
  kept = jax.tree.map(jnp.logical_and, occasion.masks, occasion.among)
  lost = selection.smallest_of_all([occasion.sizes, drop_lots], kept, replaced)
  held = jax.tree.map(lambda mask, gone: mask & ~gone, kept, lost)
  free = jax.tree.map(lambda among, mask: among & ~mask, occasion.among, held)
  grown = selection.smallest_of_all([*growing, grow_lots], free, replaced)
  return jax.tree.map(jnp.logical_or, held, grown)


def _by_magnitude(own: TableSparsifier, occasion: Occasion) -> Parts:
  return _largest(occasion, own.count)


def _fewer(own: TableSparsifier, occasion: Occasion) -> Parts:
  """From all entries at `first` to the count at `end`, along 1 - (1 - done)^3."""
  done = schedule_lib.done(own.schedule, occasion.step)
  thinned = schedule_lib.thinned(own.schedule, occasion.step)
  now = own.entries - jnp.round(thinned * own.dropped).astype(jnp.int32)
  return _largest(occasion, jnp.where(done < 1, jnp.maximum(now, own.count), own.count))


def _largest(occasion: Occasion, count: Any) -> Parts:
  """Of those kept."""
  kept = jax.tree.map(jnp.logical_and, occasion.masks, occasion.among)
  largest_first = jax.tree.map(jnp.invert, occasion.sizes)
  return selection.smallest_of_all([largest_first, occasion.lots[0]], kept, count)


RULES = {
  'static': Rule(is_due=schedule_lib.never, change=_keep),
  'set': Rule(is_due=schedule_lib.periodic, change=_grow_at_random),
  'dsl': Rule(is_due=schedule_lib.periodic, change=_grow_by_sum, adds_up=True),
  'magnitude': Rule(is_due=schedule_lib.once, change=_by_magnitude, starts_dense=True),
  'gradual': Rule(is_due=schedule_lib.falling, change=_fewer, starts_dense=True),
}


def of_run(config: Config, placed: table_lib.Placed, last: int) -> TableSparsifier | None:
  """What `config` says for a run of `last` steps; None where the table has no mask.

  Raises ValueError where there are no embeddings, more than can be counted, or none would be kept,
  and for the packed layout.
  """
  if config.table_sparsity == 'none':
    return None
  where = f'table_sparsity={config.table_sparsity}'
  if placed.packing is not None:
    raise ValueError(f'{where}: a table of layout=packed has no masks; needs layout=rows')
  entries = sum(placed.sizes) * placed.columns.get(kept_dims.PURPOSE, 0)
  if not 0 < entries <= MOST:
    raise ValueError(
      f'{where}: {config.model} has {entries} entries of embeddings, expected 1 to {MOST}'
    )
  count = round(config.table_density * entries)
  if not count:
    raise ValueError(f'table_density={config.table_density:g}: leaves no entry of the table')
  return TableSparsifier(
    RULES[config.table_sparsity], count, entries, schedule_lib.of_run(config, last)
  )


def start(
  own: TableSparsifier, placed: table_lib.Placed, table: table_lib.Table
) -> table_lib.Table:
  """A table in logical row order with its mask at step 0."""
  rows_R = jnp.arange(table.rows_RxD.shape[0], dtype=jnp.int32)
  kept = ((rows_R < sum(placed.sizes))[:, None] & _is_embedding(placed),)
  if not own.rule.starts_dense:
    lots = (_lots(placed, rows_R, table.slots.seed, jnp.int32(0)),)
    kept = selection.smallest_of_all([lots], kept, own.count)
  (mask_RxD,) = _with_other_columns(placed, kept)
  grown_RxD = jnp.zeros(table.rows_RxD.shape, jnp.float32) if own.rule.adds_up else None
  slots = table.slots._replace(mask_RxD=mask_RxD, grown_RxD=grown_RxD)
  return within(table._replace(slots=slots))


def within(table: table_lib.Table) -> table_lib.Table:
  """The table with zeros outside of its masks."""

  def part(table: table_lib.Table) -> table_lib.Table:
    rows_RxD = jnp.where(table.slots.mask_RxD, table.rows_RxD, jnp.zeros_like(table.rows_RxD))
    return table._replace(rows_RxD=rows_RxD)

  return _together([part(own) for own in _parts(table)])


def at_step(
  own: TableSparsifier, placed: table_lib.Placed, table: table_lib.Table, step: jax.Array
) -> table_lib.Table:
  """The table after the update of `step`, under the mask in force from the next one on.

  A loop of no turn or one, as in `table_lib`: a condition would copy the table at every step.
  """
  if own.rule.is_due is schedule_lib.never:
    return table

  def is_due(carry: tuple[jax.Array, table_lib.Table]) -> jax.Array:
    return carry[0]

  def change(carry: tuple[jax.Array, table_lib.Table]) -> tuple[jax.Array, table_lib.Table]:
    due, table = carry
    return jnp.zeros_like(due), _changed(own, placed, table, step)

  due = own.rule.is_due(own.schedule, step)
  return jax.lax.while_loop(is_due, change, (due, table))[1]


def _changed(
  own: TableSparsifier, placed: table_lib.Placed, table: table_lib.Table, step: jax.Array
) -> table_lib.Table:
  parts = _parts(table)
  found = own.rule.change(own, _occasion(placed, table, step))
  masks = _with_other_columns(placed, found)
  return within(_together([_under(part, mask) for part, mask in zip(parts, masks, strict=True)]))


def _under(table: table_lib.Table, mask_RxD: jax.Array) -> table_lib.Table:
  """Moments of an entry that leaves or comes are 0; those that a whole row shares stay."""
  slots = table.slots
  both_RxD = slots.mask_RxD & mask_RxD
  moments = tuple(
    jnp.where(both_RxD, moment, 0) if moment.ndim == mask_RxD.ndim else moment
    for moment in slots.moments
  )
  grown_RxD = None if slots.grown_RxD is None else jnp.zeros_like(slots.grown_RxD)
  slots = slots._replace(moments=moments, mask_RxD=mask_RxD, grown_RxD=grown_RxD)
  return table._replace(slots=slots)


def _occasion(placed: table_lib.Placed, table: table_lib.Table, step: jax.Array) -> Occasion:
  parts = _parts(table)
  rows, own_rows = _rows(placed, table)

  def lots(salt: int) -> Parts:
    return tuple(_lots(placed, rows_R, table.slots.seed, 2 * step + salt) for rows_R in rows)

  return Occasion(
    step=step,
    lots=(lots(1), lots(2)),
    among=tuple(own_R[:, None] & _is_embedding(placed) for own_R in own_rows),
    masks=tuple(part.slots.mask_RxD for part in parts),
    sizes=tuple(_sizes(part.rows_RxD) for part in parts),
    grown=tuple(
      selection.ranks_of(part.slots.grown_RxD) for part in parts if part.slots.grown_RxD is not None
    ),
  )


def _sizes(stored_RxD: jax.Array) -> jax.Array:
  """Ranks of |entry|; a scale of the table is that of all entries."""
  return selection.ranks_of(jnp.abs(storage.decode(stored_RxD).astype(jnp.float32)))


def _rows(placed: table_lib.Placed, table: table_lib.Table) -> tuple[Parts, Parts]:
  """(row of the whole table that each stored one is, whether it is one: no padding, nothing stale),
  of each part.
  """
  rows_R = placement.logical_rows(table.rows_RxD.shape[0], placed.mesh)
  is_own_R = rows_R < sum(placed.sizes)
  if placed.tiny is None:
    return (rows_R,), (is_own_R,)
  is_own_R &= ~tiny_fields.holds(placed.tiny, rows_R)
  rows_Y = jnp.asarray(placed.tiny.rows_Y)
  return (rows_R, rows_Y), (is_own_R, jnp.ones(rows_Y.shape, bool))


def _lots(
  placed: table_lib.Placed, rows_R: jax.Array, seed: jax.Array, salt: jax.Array
) -> jax.Array:
  """uint32 (R, D), no two alike among embeddings: a bijection of their numbers, row after row."""
  first, width = _columns(placed)
  column_D = jnp.arange(sum(placed.columns.values()), dtype=jnp.uint32) - jnp.uint32(first)
  number_RxD = rows_R.astype(jnp.uint32)[:, None] * jnp.uint32(width) + column_D[None]
  mixed_RxD = rounding.mix(number_RxD ^ rounding.mix(seed))
  return rounding.mix(mixed_RxD ^ rounding.mix(salt.astype(jnp.uint32)))


def _columns(placed: table_lib.Placed) -> tuple[int, int]:
  """(first column of embeddings in a row, how many there are)."""
  names = list(placed.columns)
  before = names[: names.index(kept_dims.PURPOSE)]
  return sum(placed.columns[name] for name in before), placed.columns[kept_dims.PURPOSE]


def _is_embedding(placed: table_lib.Placed) -> jax.Array:
  """bool (1, D)."""
  first, width = _columns(placed)
  column_1xD = jnp.arange(sum(placed.columns.values()))[None]
  return (column_1xD >= first) & (column_1xD < first + width)


def _with_other_columns(placed: table_lib.Placed, kept: Parts) -> Parts:
  """Masks of whole rows, from those of embeddings."""
  return tuple(kept_RxD | ~_is_embedding(placed) for kept_RxD in kept)


def _parts(table: table_lib.Table) -> list[table_lib.Table]:
  """The rows spread over devices, and those of tiny fields where there are any."""
  return [table._replace(tiny=None)] + ([] if table.tiny is None else [table.tiny])


def _together(parts: list[table_lib.Table]) -> table_lib.Table:
  """The inverse of `_parts`."""
  return parts[0]._replace(tiny=parts[1] if len(parts) > 1 else None)
