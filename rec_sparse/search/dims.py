"""How many dimensions the embeddings of rare and of frequent values are worth.

Values of a field lie in bins by frequency. A dimension of a bin has a score, and a budget of table
entries keeps the highest: by a search (DNIS, arXiv 2006.04466, and its code AutoSrh), or by one of
its controls.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SHARES = (0.1, 0.2, 0.2, 0.2, 0.3)  # of a field's values, in its bins: AutoSrh on MovieLens
RATE = 1e-2  # of the selection, SGD
L1 = 1e-5  # on the selection
POWER = 0.3  # of frequency, which widths follow (Ginart et al., arXiv 1909.11810)


class Bins(NamedTuple):
  """Table rows by field and frequency, those of a field from frequent to rare."""

  bin_R: np.ndarray  # int32: the bin of each row
  field_Z: np.ndarray  # int32: the field of each bin
  rows_Z: np.ndarray  # int64: its table rows
  uses_Z: np.ndarray  # int64: how often training rows read them


def bins(sizes: Sequence[int], count_R: np.ndarray, shares: Sequence[float]) -> Bins:
  """Bins that hold these shares of each field's rows; one that would be empty is not there.

  `sizes`: rows of each field; `count_R`: how often training rows read each one.
  """
  bin_R = np.empty(len(count_R), np.int32)
  field_Z: list[int] = []
  first = 0
  for field, size in enumerate(sizes):
    own = np.argsort(-count_R[first : first + size], kind='stable')
    ends = np.round(np.cumsum(shares) * size)
    place_W = np.searchsorted(ends, np.arange(size), side='right')
    _, dense_W = np.unique(place_W, return_inverse=True)
    bin_R[first + own] = len(field_Z) + dense_W
    field_Z += [field] * (int(dense_W.max()) + 1)
    first += size
  return Bins(
    bin_R,
    np.array(field_Z, np.int32),
    np.bincount(bin_R, minlength=len(field_Z)),
    np.bincount(bin_R, count_R, len(field_Z)).astype(np.int64),
  )


def sizes_of(rows_RxD: np.ndarray, found: Bins) -> np.ndarray:
  """size_ZxD: mean |entry| of the rows of a bin."""
  total_DxZ = [np.bincount(found.bin_R, column, len(found.rows_Z)) for column in abs(rows_RxD).T]
  return np.stack(total_DxZ, 1) / found.rows_Z[:, None]


def by_frequency(found: Bins, dim: int) -> np.ndarray:
  """score_ZxD whose highest give widths in proportion to (uses per row) ** POWER."""
  wanted_Z = np.maximum(found.uses_Z / found.rows_Z, 1e-6) ** POWER
  return wanted_Z[:, None] / np.arange(1, dim + 1)


def keep(score_ZxD: np.ndarray, rows_Z: np.ndarray, budget: float) -> np.ndarray:
  """kept_ZxD: dimensions by falling score, each if its rows still fit.

  At most `budget` times all entries of the table are kept.
  """
  left = int(budget * rows_Z.sum() * score_ZxD.shape[1])
  kept_ZxD = np.zeros(score_ZxD.shape, bool)
  for place in np.argsort(-score_ZxD, axis=None, kind='stable'):
    z, d = np.unravel_index(place, score_ZxD.shape)
    if rows_Z[z] <= left:
      kept_ZxD[z, d] = True
      left -= rows_Z[z]
  return kept_ZxD


def moved(alpha_ZxD: jax.Array, slope_ZxD: jax.Array) -> jax.Array:
  """The selection after a step on validation rows, whose loss has this slope.

  The slope of each bin is divided by its mean size, or frequent bins would move alone; a bin that
  the batch does not read feels the L1 term alone.
  """
  slope_ZxD = slope_ZxD + L1
  mean_Zx1 = jnp.mean(jnp.abs(slope_ZxD), 1, keepdims=True)
  return jnp.clip(alpha_ZxD - RATE * slope_ZxD / (mean_Zx1 + 1e-8), 0, 1)
