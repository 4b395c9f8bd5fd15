"""The machine's own limits, measured in the same run: a device copy and a matrix product."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from launch.benches import timing
from launch.benches.figure import Figure


class Limits(NamedTuple):
  """What this machine does at most, by its own compiler's simplest programs."""

  copied: float  # bytes read plus bytes written, a second
  multiplied: float  # float32 FLOP/s of a square matrix product at the default precision


def limits(copy_bytes: int, side: int, rounds: int) -> Limits:
  """Copies `copy_bytes` of float32 and multiplies two square matrices of `side`.

  Each runs in a compiled loop.
  """
  x_X = jnp.zeros(copy_bytes // 4)
  a_XxX, b_XxX = jax.random.normal(jax.random.key(0), (2, side, side))
  turns = 4
  copy, _ = timing.repeated(lambda x_X: x_X + 1.0, turns, x_X)
  product, _ = timing.repeated(lambda a_XxX, b_XxX: a_XxX @ b_XxX, turns, a_XxX, b_XxX)
  seconds = timing.interleave({'copy': copy, 'product': product}, rounds)
  return Limits(
    copied=turns * 2 * x_X.nbytes / min(seconds['copy']),
    multiplied=turns * 2 * side**3 / min(seconds['product']),
  )


def figures(found: Limits) -> Iterator[Figure]:
  """Both limits."""
  yield Figure('copy_gb_per_s', found.copied / 1e9, 'GB/s', 'device copy, read plus written')
  yield Figure('product_gflop_per_s', found.multiplied / 1e9, 'GFLOP/s', 'float32 matrix product')
