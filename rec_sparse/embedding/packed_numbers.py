"""One number a row, beside a packed table (`packing.py`): the accumulators of row-wise Adagrad.

The numbers of 128 rows are one row of an array of 128 lanes, so they take no more memory than in an
array of one axis, and are gathered and written as whole rows like all else. In the step they stand
at all lanes of their row and group of columns; 0/1 products bring them there and back.
"""

import dataclasses
import itertools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from rec_sparse.embedding import packing as packing_lib
from rec_sparse.embedding.gather import gather_rows
from rec_sparse.embedding.packing import LANES
from rec_sparse.embedding.packing import Packing

Numbers = tuple[jax.Array, ...]  # by group of columns, each (R / 128, 128)


@dataclasses.dataclass(frozen=True)
class Pack:
  """numbers_R -> (R / 128, 128), the last row filled up."""

  def __call__(self, numbers_R: jax.Array) -> jax.Array:
    return jnp.pad(numbers_R, (0, -numbers_R.shape[0] % LANES)).reshape(-1, LANES)


@dataclasses.dataclass(frozen=True)
class Unpack:
  """The inverse of `Pack`."""

  rows: int  # R

  def __call__(self, packed_RxL: jax.Array) -> jax.Array:
    return packed_RxL.reshape(-1)[: self.rows]


def group_of_lane(packing: Packing, widths: tuple[int, ...]) -> np.ndarray:
  """int32 (L,): the group of columns that a lane is of; len(widths) where it has none."""
  ends = np.asarray(list(itertools.accumulate(widths)), np.int32)
  return np.searchsorted(ends, packing.column_L, side='right').astype(np.int32)


def read(
  packing: Packing, widths: tuple[int, ...], numbers: Numbers, physical_O: jax.Array
) -> jax.Array:
  """(O, L): at each lane the number of its row and group, 0 at lanes without a group."""
  group_L = group_of_lane(packing, widths)
  rows_OxL = gather_rows(numbers, _place(packing, physical_O))
  read_OxL = jnp.zeros((physical_O.shape[0], packing.lanes))
  for group, row_OxL in enumerate(rows_OxL):
    own_OxL = jnp.where(_is_own(packing, physical_O), row_OxL, 0)
    to_lanes = _numbers_of_row(packing)[:, None] == packing.row_of_L[None]
    read_OxL += packing_lib.exact_product(own_OxL, to_lanes & (group_L == group)[None])
  return read_OxL


def add(
  packing: Packing,
  widths: tuple[int, ...],
  numbers: Numbers,
  physical_O: jax.Array,
  more_OxL: jax.Array,
) -> Numbers:
  """The numbers after adding what stands at the lanes of each row and group."""
  added = []
  firsts = (0, *itertools.accumulate(widths))
  for first, array in zip(firsts, numbers, strict=False):
    lane = _numbers_of_row(packing) * packing.pitch + first
    from_lanes = np.arange(packing.lanes)[:, None] == lane[None]
    tiled_OxL = packing_lib.exact_product(more_OxL, from_lanes)
    own_OxL = jnp.where(_is_own(packing, physical_O), tiled_OxL, 0)
    place_O = _place(packing, physical_O)
    added.append(array.at[place_O].add(own_OxL, mode='drop', wrap_negative_indices=False))
  return tuple(added)


def mean_squares(packing: Packing, widths: tuple[int, ...], grads_OxL: jax.Array) -> jax.Array:
  """(O, L): at each lane the mean of squares over its row and group, 0 at lanes without a group."""
  group_L = group_of_lane(packing, widths)
  share_L = np.asarray([*(1 / width for width in widths), 0.0], np.float32)[group_L]
  is_same_row = packing.row_of_L[:, None] == packing.row_of_L[None]
  is_same_group = group_L[:, None] == group_L[None]
  sums = jnp.asarray(is_same_row & is_same_group, jnp.float32)
  summed_OxL = lax.dot(jnp.square(grads_OxL), sums, precision=lax.Precision.HIGHEST)
  return summed_OxL * share_L[None]


def _numbers_of_row(packing: Packing) -> np.ndarray:
  """int32 (128,): which row of its physical one a number is of."""
  return np.arange(LANES, dtype=np.int32) % packing.per


def _place(packing: Packing, physical_O: jax.Array) -> jax.Array:
  """The row of the numbers that has those of a physical row."""
  return physical_O // (LANES // packing.per)


def _is_own(packing: Packing, physical_O: jax.Array) -> jax.Array:
  """bool (O, 128): whether a number in that row is of the physical row."""
  block = np.arange(LANES, dtype=np.int32) // packing.per
  return block[None] == (physical_O % (LANES // packing.per))[:, None]
