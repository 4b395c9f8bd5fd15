"""The static filter of SSR-S: each view reads a fixed random subset of the input dimensions.

Everything here is feature-major (`x_NxB`): a kept dimension is then one contiguous copy of B
numbers, forward and backward, where a batch-major gather touches B far-apart ones.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class StaticFilter(NamedTuple):
  """M_1 ... M_V of equation 4 as indices, and where each input dimension went.

  With both the transpose of the filter is a gather too.
  """

  indices_VxK: jax.Array | np.ndarray  # int32; view v keeps dimension indices[v, k]
  # int32; flat place v * K + k of each occurrence of dimension n, padded by V * K
  inverse_NxM: jax.Array | np.ndarray


def draw(
  seed: int, layer: int, *, inputs: int, views: int, kept: int, unit: int = 1
) -> StaticFilter:
  """Uniform without replacement inside a view, independent across views and layers.

  SSR (arXiv 2604.08011), section 3.1 and equation 4.

  Dimensions are kept in runs of `unit`: 1, or the embedding's length to keep whole fields. The same
  (seed, layer, sizes) always give the same filter. Raises ValueError if `kept` exceeds `inputs` or
  is no multiple of `unit`.
  """
  if kept > inputs:
    raise ValueError(
      f'width: a view cannot keep {kept} of {inputs} input dimensions without replacement'
    )
  if kept % unit:
    raise ValueError(f'width: a view cannot keep {kept} dimensions in whole fields of {unit}')

  rng = np.random.default_rng((seed, layer))
  units = inputs // unit
  drawn = [rng.choice(units, kept // unit, replace=False) for _ in range(views)]
  units_VxJ = np.stack(drawn)
  dims_VxJxX = units_VxJ[..., None] * unit + np.arange(unit)
  indices_VxK = dims_VxJxX.reshape(views, kept).astype(np.int32)
  return StaticFilter(indices_VxK, invert(indices_VxK, inputs))


def invert(indices_VxK: np.ndarray, inputs: int) -> np.ndarray:
  """inverse_NxM of `indices_VxK`, M the largest number of times that any dimension is kept."""
  flat = indices_VxK.reshape(-1)
  order = np.argsort(flat, kind='stable')
  count_N = np.bincount(flat, minlength=inputs)
  first_N = np.concatenate([[0], np.cumsum(count_N)[:-1]])
  inverse_NxM = np.full((inputs, max(count_N.max(), 1)), flat.size, np.int32)
  inverse_NxM[flat[order], np.arange(flat.size) - first_N[flat[order]]] = order
  return inverse_NxM


def stack(filters: Sequence[StaticFilter]) -> StaticFilter:
  """Filters of equal sizes with a leading trial axis.

  Their inverses are padded to a common multiplicity.
  """
  most = max(filter_.inverse_NxM.shape[1] for filter_ in filters)
  nowhere = filters[0].indices_VxK.size
  inverses = []
  for filter_ in filters:
    missing = most - filter_.inverse_NxM.shape[1]
    padded = np.pad(filter_.inverse_NxM, ((0, 0), (0, missing)), constant_values=nowhere)
    inverses.append(padded)
  indices = [filter_.indices_VxK for filter_ in filters]
  return StaticFilter(np.stack(indices), np.stack(inverses))


@jax.custom_vjp
def keep(filter_: StaticFilter, x_NxB: jax.Array) -> jax.Array:
  """h_VxKxB, h_v = x M_v (SSR equation 4): a gather, no parameters, no arithmetic."""
  return x_NxB.at[filter_.indices_VxK].get(mode='promise_in_bounds', wrap_negative_indices=False)


def _keep_forward(filter_: StaticFilter, x_NxB: jax.Array) -> tuple[jax.Array, StaticFilter]:
  return keep(filter_, x_NxB), filter_


def _keep_backward(filter_: StaticFilter, bar_VxKxB: jax.Array) -> tuple[None, jax.Array]:
  """Each input dimension sums its occurrences in float32.

  By gathers: a scatter is slower and, on a GPU, in no order.
  """
  flat_XxB = bar_VxKxB.reshape(-1, bar_VxKxB.shape[-1])
  padded_XxB = jnp.concatenate([flat_XxB, jnp.zeros_like(flat_XxB[:1])])
  inverse_NxM = filter_.inverse_NxM
  occurrences = [
    padded_XxB[inverse_NxM[:, m]].astype(jnp.float32) for m in range(inverse_NxM.shape[1])
  ]
  summed_NxB = sum(occurrences)
  return None, summed_NxB.astype(bar_VxKxB.dtype)


keep.defvjp(_keep_forward, _keep_backward)


def mask(filter_: StaticFilter) -> jax.Array:
  """M of equation 4 as a boolean mask_VxNxK: the masked form, oracle of the structural one."""
  inputs = filter_.inverse_NxM.shape[0]
  return jnp.arange(inputs)[None, :, None] == filter_.indices_VxK[:, None, :]
