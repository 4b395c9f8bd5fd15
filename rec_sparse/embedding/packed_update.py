"""One step of an optimizer on a packed table (`packing.py`): the physical rows of the batch, and of
them the lanes of the rows that it touches.

Gradients that meet on a physical row are summed at its slot, by scatter-add, in the order of the
batch. Slots without a physical row come last, so the loop over them ends early. The reference is
the same optimizer on plain rows (`optimizers.py`).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from rec_sparse.embedding import duplicates
from rec_sparse.embedding import packing as packing_lib
from rec_sparse.embedding.gather import gather_rows
from rec_sparse.embedding.packing import Packing

CHUNK = 16384  # slots: 8 MB of float32 an array, where all slots of a batch are 160

Arrays = tuple[jax.Array, ...]  # packed rows, and what an optimizer keeps beside them


class Rule(NamedTuple):
  """An optimizer, for some physical rows and what is kept of them, in arrays_OxL."""

  # (old arrays_OxL, the row rows_OxL that each number is of, summed_OxL) -> the new ones
  moved: Callable[[Arrays, jax.Array, jax.Array], Arrays]
  read: Callable[[Arrays, jax.Array], Arrays]  # (what is kept of all rows, physical_O) -> of these
  # (what is kept of all rows, physical_O, old, new) -> the same with the new ones
  write: Callable[[Arrays, jax.Array, Arrays, Arrays], Arrays]


class Slots(NamedTuple):
  """The physical rows of a batch, each at a slot, in order; the first `used` of O slots count."""

  physical_O: jax.Array  # int32; beyond the table where the slot has none, each another one
  touched_O: jax.Array  # uint32: bit p says that the batch touches row p of the physical row
  slot_O: jax.Array  # int32, by occurrence: where its gradient goes
  used: jax.Array  # int32 scalar


def slots_of(packing: Packing, ids_O: jax.Array, rows: int) -> Slots:
  """The slots of a batch; ids outside of the table, of `rows` rows, touch nothing."""
  count, per = ids_O.shape[0], packing.per
  slot_O = jnp.arange(count, dtype=jnp.int32)
  inside_O = (ids_O >= 0) & (ids_O < rows)
  sorted_O, order_O = lax.sort_key_val(jnp.where(inside_O, ids_O, rows), slot_O)
  first_O, _ = duplicates.run_ends(sorted_O)
  starts_O, _ = duplicates.run_ends(sorted_O // per)
  rank_O = jnp.cumsum(starts_O, dtype=jnp.int32) - 1
  is_row_O = sorted_O < rows

  bit_O = jnp.uint32(1) << (sorted_O % per).astype(jnp.uint32)
  own_O = jnp.where(first_O & is_row_O, bit_O, jnp.uint32(0))
  touched_O = jnp.zeros(count, jnp.uint32).at[rank_O].add(own_O, indices_are_sorted=True)
  place_O = jnp.where(starts_O & is_row_O, rank_O, count)
  physical_O = (rows // per + slot_O).at[place_O].set(sorted_O // per, mode='drop')
  _, slot_of_occurrence_O = lax.sort_key_val(order_O, rank_O)
  return Slots(physical_O, touched_O, slot_of_occurrence_O, jnp.sum(starts_O & is_row_O))


def over_touched(
  packing: Packing, arrays: Arrays, ids_O: jax.Array, grads_OxD: jax.Array, rule: Rule
) -> Arrays:
  """The arrays after a step at the rows of the batch, and nowhere else."""
  rows = arrays[0].shape[0] * packing.per
  chunk = min(CHUNK, ids_O.shape[0])
  spare = -ids_O.shape[0] % chunk
  ids_O = jnp.pad(ids_O, (0, spare), constant_values=rows)
  grads_DxO = jnp.pad(grads_OxD.T, ((0, 0), (0, spare)))
  slots = slots_of(packing, ids_O, rows)
  summed_OxL = _summed(packing, slots.slot_O, ids_O, grads_DxO, chunk)
  return _by_chunks(packing, arrays, slots, summed_OxL, rule, chunk)


def over_all(
  packing: Packing, arrays: Arrays, ids_O: jax.Array, grads_OxD: jax.Array, rule: Rule
) -> Arrays:
  """The arrays after a step at all rows, most of them without a gradient of the batch."""
  height = arrays[0].shape[0]
  chunk = min(CHUNK, height)
  every_R = jnp.arange(height + -height % chunk, dtype=jnp.int32)
  rows = every_R.shape[0] * packing.per
  summed_RxL = packing_lib.Pack(packing)(by_row(packing, ids_O, grads_OxD, rows))
  all_R = jnp.full(every_R.shape, 2**32 - 1, jnp.uint32)
  slots = Slots(every_R, all_R, every_R, jnp.int32(height))
  return _by_chunks(packing, arrays, slots, summed_RxL, rule, chunk)


def by_row(packing: Packing, ids_O: jax.Array, grads_OxD: jax.Array, rows: int) -> jax.Array:
  """summed_RxD of so many `rows`, 0 where there is no gradient; what is beyond them is left out."""
  height = -(-rows // packing.per)
  inside_O = (ids_O >= 0) & (ids_O < rows)
  physical_O = jnp.where(inside_O, ids_O // packing.per, height)
  wide_OxL = packing_lib.widen(packing, grads_OxD.T, ids_O)
  summed_RxL = jnp.zeros((height, packing.lanes)).at[physical_O].add(wide_OxL, mode='drop')
  return packing_lib.Unpack(packing)(summed_RxL)[:rows]


def _by_chunks(
  packing: Packing,
  arrays: Arrays,
  slots: Slots,
  summed_OxL: jax.Array,
  rule: Rule,
  chunk: int,
) -> Arrays:
  """A step at the slots in use, a chunk of them after the other."""

  def body(k: jax.Array, arrays: Arrays) -> Arrays:
    of_all = slots.physical_O, slots.touched_O, summed_OxL
    physical, touched, summed = (lax.dynamic_slice_in_dim(x, k * chunk, chunk) for x in of_all)
    rows_OxL = physical[:, None] * packing.per + packing.row_of_L[None]
    is_touched_OxL = (touched[:, None] >> packing.row_of_L[None].astype('uint32')) & 1 != 0
    (old_OxL,), old_kept = gather_rows(arrays[:1], physical), rule.read(arrays[1:], physical)
    new_OxL, *new_kept = rule.moved((old_OxL, *old_kept), rows_OxL, summed)
    new_OxL = jnp.where(is_touched_OxL, new_OxL, old_OxL)
    new_kept = [
      jnp.where(is_touched_OxL, new, old) for new, old in zip(new_kept, old_kept, strict=True)
    ]
    kept = rule.write(arrays[1:], physical, old_kept, tuple(new_kept))
    return write_rows(arrays[0], physical, new_OxL), *kept

  return lax.fori_loop(0, -(-slots.used // chunk), body, arrays)


def read_rows(kept: Arrays, physical_O: jax.Array) -> Arrays:
  """What is kept as the rows are: a number at each lane."""
  return gather_rows(kept, physical_O) if kept else ()


def put_rows(kept: Arrays, physical_O: jax.Array, old_OxL: Arrays, new_OxL: Arrays) -> Arrays:
  """The inverse of `read_rows`."""
  del old_OxL
  return tuple(write_rows(array, physical_O, new) for array, new in zip(kept, new_OxL, strict=True))


def write_rows(array_RxL: jax.Array, physical_O: jax.Array, new_OxL: jax.Array) -> jax.Array:
  """The array with these physical rows, each once, those beyond it left out."""
  return array_RxL.at[physical_O].set(
    new_OxL, mode='drop', unique_indices=True, wrap_negative_indices=False
  )


def _summed(
  packing: Packing, slot_O: jax.Array, ids_O: jax.Array, grads_DxO: jax.Array, chunk: int
) -> jax.Array:
  """summed_OxL by slot; gradients are widened by chunks, for together they would be as large."""

  def body(k: jax.Array, summed_OxL: jax.Array) -> jax.Array:
    slot, ids = (lax.dynamic_slice_in_dim(x, k * chunk, chunk) for x in (slot_O, ids_O))
    grads = lax.dynamic_slice_in_dim(grads_DxO, k * chunk, chunk, axis=1)
    return summed_OxL.at[slot].add(packing_lib.widen(packing, grads, ids), mode='drop')

  count = ids_O.shape[0]
  return lax.fori_loop(0, count // chunk, body, jnp.zeros((count, packing.lanes)))
