"""Duplicate ids of a batch become one summed gradient per distinct row, without a dense table-sized
gradient.

Row updates are non-linear in the gradient, so duplicates are summed first, then squared. Both
methods return O slots again (static shape): a slot that owns a row carries its id and the sum;
every other slot carries an id beyond the table, distinct from all others, so that
`unique_indices=True` holds and `mode='drop'` ignores it. Ids beyond the table (padding, or rows of
another shard) and negative ids own nothing. Slots come in no promised order.
"""

from typing import Literal, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

Method = Literal['scratch', 'sort']


class Combined(NamedTuple):
  """One slot per occurrence; the slots that own a row hold each distinct id once."""

  scratch_R: jax.Array  # int32, to be handed to the next call
  unique_ids_O: jax.Array  # int32; rows + slot where the slot owns no row
  summed_OxD: jax.Array  # float32; meaningless where the slot owns no row


def default_method(platform: str) -> Method:
  """'scratch' on CPU, 'sort' elsewhere.

  On CPU the sort costs 20 to 30 times the scratch cells (40 k and 160 k ids, a million rows). On
  GPU the scratch method adds duplicates with atomics: their order, hence the last bit, changes from
  run to run, and fields with few rows collide (github.com/jax-ml/jax/issues/38806); the sort's
  segmented scan has neither trouble. Neither was measured on a GPU yet.
  """
  return 'scratch' if platform == 'cpu' else 'sort'


def new_scratch(rows: int, method: Method) -> jax.Array:
  """The scratch cells that `combine` needs: one int32 per table row, or none. The content never
  matters.
  """
  return jnp.zeros(rows if method == 'scratch' else 0, jnp.int32)


def combine(
  method: Method, scratch_R: jax.Array, ids_O: jax.Array, grads_OxD: jax.Array, rows: int
) -> Combined:
  """Sums the gradients of equal ids; `rows` is the height of the table."""
  _check(ids_O, rows)
  if method == 'scratch':
    return by_scratch(scratch_R, ids_O, grads_OxD)
  if method == 'sort':
    return Combined(scratch_R, *by_sort(ids_O, grads_OxD, rows))
  raise ValueError(f'method is {method!r}, expected scratch or sort')


def by_scratch(scratch_R: jax.Array, ids_O: jax.Array, grads_OxD: jax.Array) -> Combined:
  """Each occurrence writes its position into its row's cell; what it reads back is its row's
  representative.

  Cells that this batch does not write are not read, so nothing is ever cleared. Which duplicate
  wins is the backend's choice (the last one on CPU), but all duplicates read the same one.
  """
  rows, n = scratch_R.shape[0], ids_O.shape[0]
  slot_O = jnp.arange(n, dtype=jnp.int32)
  scratch_R = scratch_R.at[ids_O].set(slot_O, mode='drop', wrap_negative_indices=False)
  owner_O = scratch_R.at[ids_O].get(mode='fill', fill_value=n, wrap_negative_indices=False)
  summed_OxD = (
    jnp.zeros(grads_OxD.shape, jnp.float32)
    .at[owner_O]
    .add(grads_OxD.astype(jnp.float32), mode='drop')
  )
  return Combined(scratch_R, jnp.where(owner_O == slot_O, ids_O, rows + slot_O), summed_OxD)


def by_row(ids_O: jax.Array, grads_OxD: jax.Array, rows: int) -> tuple[jax.Array, jax.Array]:
  """(touched_R, summed_RxD): a dense gradient, of a table that is gone over as a whole."""
  _check(ids_O, rows)
  inside = {'mode': 'drop', 'wrap_negative_indices': False}
  touched_R = jnp.zeros(rows, bool).at[ids_O].set(True, **inside)
  return touched_R, jnp.zeros((rows, grads_OxD.shape[1])).at[ids_O].add(
    grads_OxD.astype(jnp.float32), **inside
  )


def by_sort(ids_O: jax.Array, grads_OxD: jax.Array, rows: int) -> tuple[jax.Array, jax.Array]:
  """Sorts by id and sums each run with a segmented scan; the last slot of a run owns the row.

  The scan has a fixed order and no colliding writes: the result is the same on every run, on every
  backend. Returns (unique_ids_O, summed_OxD).
  """
  slot_O = jnp.arange(ids_O.shape[0], dtype=jnp.int32)
  ids_O, order_O = lax.sort_key_val(ids_O, slot_O)
  first_O, last_O = run_ends(ids_O)
  owns_O = last_O & (ids_O >= 0) & (ids_O < rows)
  return jnp.where(owns_O, ids_O, rows + slot_O), sum_runs(first_O, grads_OxD[order_O])


def by_row_sorted(ids_O: jax.Array, grads_OxD: jax.Array, rows: int) -> tuple[jax.Array, jax.Array]:
  """As `by_row`, but without colliding writes: the same on every run, on every backend."""
  unique_ids_O, summed_OxD = by_sort(ids_O, grads_OxD, rows)
  once = {'mode': 'drop', 'unique_indices': True}
  touched_R = jnp.zeros(rows, bool).at[unique_ids_O].set(True, **once)
  summed_RxD = jnp.zeros((rows, grads_OxD.shape[1])).at[unique_ids_O].set(summed_OxD, **once)
  return touched_R, summed_RxD


def dense(method: Method, ids_O: jax.Array, grads_OxD: jax.Array, rows: int) -> jax.Array:
  """summed_RxD: the gradient of every row, 0 where the batch has none."""
  of_rows = by_row if method == 'scratch' else by_row_sorted
  _, summed_RxD = of_rows(ids_O, grads_OxD, rows)
  return summed_RxD


def squared_norm(method: Method, ids_O: jax.Array, grads_OxD: jax.Array, rows: int) -> jax.Array:
  """Sum of squares of the gradient of a table, of which `grads_OxD` are those of gathered rows."""
  if method == 'scratch' and rows <= ids_O.shape[0]:
    _, summed_RxD = by_row(ids_O, grads_OxD, rows)
    return jnp.sum(jnp.square(summed_RxD))
  unique_ids_O, summed_OxD = by_sort(ids_O, grads_OxD, rows)
  owns_Ox1 = (unique_ids_O < rows)[:, None]
  return jnp.sum(jnp.square(summed_OxD), where=owns_Ox1)


def run_ends(sorted_O: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Where runs of equal values start, and where they end."""
  changes, end = sorted_O[1:] != sorted_O[:-1], jnp.ones(1, bool)
  return jnp.concatenate([end, changes]), jnp.concatenate([changes, end])


def sum_runs(first_O: jax.Array, grads_OxD: jax.Array) -> jax.Array:
  """Running float32 sums that start anew where `first_O`: at the end of a run, its total."""
  return lax.associative_scan(_segmented_add, (first_O, grads_OxD.astype(jnp.float32)))[1]


def _segmented_add(
  a: tuple[jax.Array, jax.Array], b: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
  """Associative: (starts a run, running sum) of two neighbouring stretches."""
  (starts_a, sum_a), (starts_b, sum_b) = a, b
  return starts_a | starts_b, jnp.where(starts_b[:, None], sum_b, sum_a + sum_b)


def _check(ids_O: jax.Array, rows: int) -> None:
  if ids_O.dtype != jnp.int32:
    raise ValueError(f'ids are {ids_O.dtype}, expected int32')
  if rows + ids_O.shape[0] >= 2**31:
    raise ValueError(f'{rows} table rows and {ids_O.shape[0]} ids together do not fit int32')
