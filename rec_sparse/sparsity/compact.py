"""A kernel with zeros as groups of outputs, each of which reads few inputs: SSR-S's layer again.

The rows of x_NxB that a group reads are gathered, one contiguous copy each, and all groups are one
batched product. One group drops inputs and outputs without a weight; groups as wide as a block
leave out blocks; groups of one output leave out single weights (ELL). Which of them pays, and from
which density on, is measured (`launch.bench --what=compact`, docs/performance.md).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Time over that of the dense product, for the same share of its multiplications: by outputs of a
# group, 0 being one group of all. A kernel is compact where share times price is below 1. On a CPU
# in batches of 256, which is how artifacts are served there.
PRICES = {0: 1.2, 64: 1.6, 16: 4.0, 1: 4.5}
LEAST = 4096  # weights of a kernel that is worth another form


class Compact(NamedTuple):
  """G groups of J outputs, each of which reads K inputs; as arrays, so a pytree."""

  inputs_GxK: jax.Array | np.ndarray  # int32, which ones; what pads them has weights of 0
  kernel_GxKxJ: jax.Array | np.ndarray
  # int32: row g * J + j of each output, or G * J, which is all zeros; None: they are in order
  place_H: jax.Array | np.ndarray | None


def of_kernel(kernel_NxH: np.ndarray, outputs: int = 0) -> Compact:
  """Groups of `outputs` neighbours (0: of all) among the columns that are not all zeros."""
  inputs, features = kernel_NxH.shape
  used_J = np.flatnonzero(kernel_NxH.any(0))
  size = max(min(outputs or len(used_J), len(used_J)), 1)
  groups = max(-(-len(used_J) // size), 1)
  padded_NxX = np.zeros((inputs, groups * size), kernel_NxH.dtype)
  padded_NxX[:, : len(used_J)] = kernel_NxH[:, used_J]
  kernel_NxGxJ = padded_NxX.reshape(inputs, groups, size)

  is_read_GxN = kernel_NxGxJ.any(2).T
  most = max(int(is_read_GxN.sum(1).max()), 1)
  # those that are read first, each part in its order
  inputs_GxK = np.argsort(~is_read_GxN, axis=1, kind='stable')[:, :most].astype(np.int32)
  kernel_GxKxJ = np.take_along_axis(kernel_NxGxJ.swapaxes(0, 1), inputs_GxK[..., None], 1)
  place_H = None
  if len(used_J) < features or groups * size > features:
    place_H = np.full(features, groups * size, np.int32)
    place_H[used_J] = np.arange(len(used_J))
  return Compact(inputs_GxK, kernel_GxKxJ, place_H)


def product(compact: Compact, x_NxB: jax.Array) -> jax.Array:
  """y_HxB = W^T x_NxB in the type of x."""
  kernel_GxKxJ = jnp.asarray(compact.kernel_GxKxJ, x_NxB.dtype)
  groups, _, outputs = kernel_GxKxJ.shape
  if groups == 1:
    y_XxB = jnp.einsum('kb,kj->jb', _read(x_NxB, compact.inputs_GxK[0]), kernel_GxKxJ[0])
  elif outputs == 1:
    y_XxB = _one_by_one(jnp.asarray(compact.inputs_GxK), kernel_GxKxJ[..., 0], x_NxB)
  else:
    y_GxJxB = jnp.einsum('gkb,gkj->gjb', _read(x_NxB, compact.inputs_GxK), kernel_GxKxJ)
    y_XxB = y_GxJxB.reshape(-1, x_NxB.shape[1])
  if compact.place_H is None:
    return y_XxB
  return y_XxB.at[compact.place_H].get(mode='fill', fill_value=0)


def _read(x_NxB: jax.Array, inputs: jax.Array) -> jax.Array:
  return x_NxB.at[inputs].get(mode='promise_in_bounds')


def _one_by_one(inputs_HxK: jax.Array, kernel_HxK: jax.Array, x_NxB: jax.Array) -> jax.Array:
  """y_HxB, of every output one more input a turn: K copies of x in memory would cost more."""

  def add(k: jax.Array, y_HxB: jax.Array) -> jax.Array:
    return y_HxB + kernel_HxK[:, k, None] * _read(x_NxB, inputs_HxK[:, k])

  y_HxB = jnp.zeros((len(inputs_HxK), x_NxB.shape[1]))
  return jax.lax.fori_loop(0, inputs_HxK.shape[1], add, y_HxB).astype(x_NxB.dtype)


def choose(kernel_NxH: np.ndarray) -> Compact | None:
  """The cheapest form by share of multiplications times price; None where dense is cheapest."""
  if kernel_NxH.size < LEAST:
    return None
  forms = {outputs: of_kernel(kernel_NxH, outputs) for outputs in PRICES}
  costs = {outputs: share(form, kernel_NxH) * PRICES[outputs] for outputs, form in forms.items()}
  best = min(costs, key=costs.get)
  return forms[best] if costs[best] < 1 else None


def share(compact: Compact, kernel_NxH: np.ndarray) -> float:
  """Multiplications over those of the dense product."""
  return compact.kernel_GxKxJ.size / kernel_NxH.size
