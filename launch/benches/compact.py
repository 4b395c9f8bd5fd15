"""Compact kernels over the dense product: which groups of outputs pay, and from which density."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from launch.benches import timing
from launch.benches.figure import Figure
from launch.benches.figure import ratio
from rec_sparse.sparsity import compact

FORMS = {'units': 0, 'of_64': 64, 'of_16': 16, 'of_1': 1}  # -> outputs of a group
_MOST = 2**28  # gathered numbers of a product that is measured at all


class Sizes(NamedTuple):
  widths: tuple[int, ...]  # of square kernels
  batches: tuple[int, ...]
  densities: tuple[float, ...]
  flops: float  # of the turns of a dispatch
  rounds: int


FULL = Sizes((128, 400, 1024), (256, 4096), (0.5, 0.2, 0.1, 0.05, 0.02), 2e9, 5)
TINY = Sizes((64,), (16,), (0.1,), 1e6, 2)


def measure(sizes: Sizes) -> Iterator[Figure]:
  """All figures of --what=compact."""
  rng = np.random.default_rng(0)
  for width in sizes.widths:
    for batch in sizes.batches:
      yield from _of_size(sizes, width, batch, rng)


def _of_size(sizes: Sizes, width: int, batch: int, rng: np.random.Generator) -> Iterator[Figure]:
  """Of one kernel and batch."""
  x_NxB = jnp.asarray(rng.standard_normal((width, batch), np.float32))
  kernel_NxH = rng.standard_normal((width, width), np.float32)
  turns = max(int(sizes.flops / (2 * width * width * batch)), 1)
  calls = {'dense': timing.repeated(_dense, turns, kernel_NxH, x_NxB)[0]}
  for name, outputs in FORMS.items():
    for density in sizes.densities:
      form = compact.of_kernel(kernel_NxH * _mask(width, outputs, density, rng), outputs)
      if form.inputs_GxK.size * batch <= _MOST:
        called, _ = timing.repeated(_product, turns, form.kernel_GxKxJ, x_NxB, form.inputs_GxK)
        calls[f'{name}_{density:g}'] = called

  seconds = timing.interleave(calls, sizes.rounds)
  size = f'compact_{width}x{batch}'
  per_turn = 1e3 * timing.median(seconds, 'dense') / turns
  yield Figure(f'{size}_dense_ms', per_turn, 'ms', f'{width} inputs and outputs, {batch} examples')
  for name in calls:
    if name != 'dense':
      form, _, density = name.rpartition('_')
      meaning = f'{form} that keep {density} / dense product'
      yield ratio(f'{size}_{name}', seconds[name], seconds['dense'], meaning)


def _mask(width: int, outputs: int, density: float, rng: np.random.Generator) -> np.ndarray:
  """Each group of `outputs` reads a share of the inputs (0: all read it, the others nothing)."""
  size = min(outputs or width, width)
  groups = -(-width // size)
  kept = max(round(density * width), 1)
  lots_NxG = rng.random((width, groups))
  is_read_NxG = np.argsort(np.argsort(lots_NxG, 0), 0) < kept
  return np.repeat(is_read_NxG, size, 1)[:, :width]


def _dense(kernel_NxH: jax.Array, x_NxB: jax.Array) -> jax.Array:
  return jnp.einsum('nb,nh->hb', x_NxB, kernel_NxH)


def _product(kernel_GxKxJ: jax.Array, x_NxB: jax.Array, inputs_GxK: jax.Array) -> jax.Array:
  return compact.product(compact.Compact(inputs_GxK, kernel_GxKxJ, None), x_NxB)[: len(x_NxB)]
