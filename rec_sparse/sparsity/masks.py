"""Masks over the dense parameters: which weights of a kernel are kept, and how many.

A tree of masks is that of the parameters: a boolean array beside a kernel, None beside what is
never masked (biases, normalizations). Stored weights outside of a mask are exact zeros, so that
evaluation and export need no mask. A tree of counts has the number of kept weights beside a kernel.
"""

from collections.abc import Callable
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp

from rec_sparse.models.marks import Mark
from rec_sparse.sparsity import selection
from rec_sparse.sparsity import structure as structure_lib
from rec_sparse.sparsity.structure import Structure

Masks = Any  # tree of the parameters: boolean arrays, and None
Counts = Any  # the same tree: integers, and None


def over(fn: Callable, masks: Any, *trees: Any) -> Any:
  """fn(mask, *leaves) beside every mask, or count; what has none stays None."""

  def at(mask: Any, *leaves: Any) -> Any:
    return None if mask is None else fn(mask, *leaves)

  return jax.tree.map(at, masks, *trees, is_leaf=_is_none)


def apply(masks: Masks, tree: Any) -> Any:
  """The tree with zeros where a mask is False."""

  def at(mask: jax.Array | None, leaf: jax.Array) -> jax.Array:
    return leaf if mask is None else jnp.where(mask, leaf, 0)

  return jax.tree.map(at, masks, tree, is_leaf=_is_none)


def beside(masks: Any, tree: Any) -> Any:
  """The leaves of a tree that lie beside a mask, and None."""
  return over(lambda _, leaf: leaf, masks, tree)


def instead(some: Any, tree: Any) -> Any:
  """`some`, and where it has None the leaves of a tree."""
  return jax.tree.map(lambda own, leaf: leaf if own is None else own, some, tree, is_leaf=_is_none)


def _is_none(leaf: Any) -> bool:
  return leaf is None


def counts(
  params: Any,
  marks: Any,
  density: float,
  by: Literal['uniform', 'erk'],
  structure: Structure = structure_lib.UNSTRUCTURED,
) -> Counts:
  """How many weights of each kernel (a parameter that decays) are kept.

  Together they are `density` of all kernel weights, to the nearest one that whole units of the
  structure allow. uniform: each kernel keeps
  that share. erk: a kernel with n inputs and h outputs keeps eps (n + h) / (n h) of its weights, or
  all where that is above 1, with eps as the total wants it (Erdos-Renyi, Mocanu et al. 2018;
  Evci et al. 2020, section 3). A stack of views counts as its views. `params` are arrays or shapes.
  Raises ValueError where a kernel would keep none, or does not have the structure.
  """
  sizes = {}
  shares = {}
  steps = {}
  leaves = jax.tree.leaves_with_path(params)
  for (path, param), mark in zip(leaves, _leaves(marks), strict=True):
    if mark.decays:
      inputs, outputs = param.shape[-2:]
      sizes[path] = param.size
      shares[path] = (inputs + outputs) / (inputs * outputs) if by == 'erk' else 1.0
      try:
        steps[path] = structure_lib.grid(structure, param.shape).step
      except ValueError as e:
        raise ValueError(f'mask_structure={structure.kind}: {_name(path)} {e}') from None

  wanted = round(density * sum(sizes.values()))
  kept = _whole(_exact(sizes, shares, wanted), steps, wanted)
  for path, count in kept.items():
    if not count:
      raise ValueError(f'density={density:g}: leaves no weight of {_name(path)}')
  return jax.tree.map_with_path(lambda path, _: kept.get(path), params)


def _name(path: Any) -> str:
  return jax.tree_util.keystr(path, simple=True, separator='/')


def _leaves(marks: Any) -> list[Mark]:
  return jax.tree.leaves(marks, is_leaf=lambda leaf: isinstance(leaf, Mark))


def _exact(sizes: dict, shares: dict, wanted: int) -> dict:
  """Fractional counts in proportion to share times size, none above its size."""
  full = set()
  while True:
    left = wanted - sum(sizes[path] for path in full)
    weight = sum(shares[path] * sizes[path] for path in sizes if path not in full)
    factor = left / weight if weight else 0.0
    over_full = {path for path in sizes if path not in full and factor * shares[path] > 1}
    if not over_full:
      break
    full |= over_full
  return {
    path: float(size) if path in full else factor * shares[path] * size
    for path, size in sizes.items()
  }


def _whole(exact: dict, steps: dict, wanted: int) -> dict:
  """Multiples of `steps` with the sum `wanted`, or near it: down, the largest remainders up."""
  kept = {
    path: math.floor(count / steps[path] + 1e-9) * steps[path] for path, count in exact.items()
  }
  remainders = {path: (exact[path] - kept[path]) / steps[path] for path in exact}
  for path in sorted(exact, key=lambda path: -remainders[path]):
    left = wanted - sum(kept.values())
    if remainders[path] > 0 and left > steps[path] / 2:
      kept[path] += steps[path]
  return kept


def largest(scores: jax.Array, count: Any, key: jax.Array) -> jax.Array:
  """The mask of exactly `count` largest scores along the last axis; equal ones by lot.

  `count` may be traced, and differ along the other axes. By lot and not by index: gradients of 0
  would else fill a kernel from its first row on.
  """
  lots = jax.random.uniform(key, scores.shape)
  return selection.smallest(jnp.stack([-scores, lots]), count)


def largest_of_all(scores: Any, count: Any, key: jax.Array) -> Masks:
  """Masks of exactly `count` largest scores of a whole tree together; equal ones by lot."""
  leaves, tree = jax.tree.flatten(scores)
  mask = largest(jnp.concatenate([leaf.reshape(-1) for leaf in leaves]), count, key)
  masks = []
  start = 0
  for leaf in leaves:
    masks.append(mask[start : start + leaf.size].reshape(leaf.shape))
    start += leaf.size
  return jax.tree.unflatten(tree, masks)


def keys(key: jax.Array, masks: Any) -> Any:
  """A key beside every mask, or count."""
  leaves, tree = jax.tree.flatten(masks)
  return jax.tree.unflatten(tree, [jax.random.fold_in(key, i) for i in range(len(leaves))])


def total(counts: Counts) -> int:
  """Of all kernels."""
  return sum(jax.tree.leaves(counts))
