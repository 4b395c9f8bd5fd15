"""The row order: a stateless keyed bijection, the same in numpy and inside jit.

There is no permutation array anywhere.

A position is mixed by rounds of (add a key, multiply by an odd key, fold the high half onto the low
half) modulo the next power of two 2^k; each step is invertible, so the whole is a bijection on [0,
2^k). Mixing again while the result is n or more (cycle walking, less than two rounds on average)
makes it a bijection on [0, n).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines import hashing

_ROUNDS = 4


def steps_per_epoch(rows: int, batch_size: int) -> int:
  """Batches in one pass, a last partial one included.

  Raises ValueError when batch_size is not in [1, rows].
  """
  if not 0 < batch_size <= rows:
    raise ValueError(
      f'batch_size={batch_size}: expected at least 1 and at most the {rows} rows of the split'
    )
  return -(-rows // batch_size)


def examples_of(steps: int, batch_size: int, rows: int) -> int:
  """Examples that the first `steps` steps train, padding left out."""
  epochs, rest = divmod(steps, steps_per_epoch(rows, batch_size))
  return epochs * rows + rest * batch_size


class BatchRows(NamedTuple):
  """The rows of one training batch."""

  rows_B: Any  # int32
  weight_B: Any  # float32: 1, and 0 for padding; that repeats the first row, so it touches no other


def batch_rows(
  step: Any,
  batch_size: int,
  rows: int,
  seed: Any,
  shuffle: bool,
  xp: Any = np,
  length: int | None = None,
) -> BatchRows:
  """The batch of global training step `step`.

  Each epoch has every row once, in a new order; without shuffle, in file order. Its last batch has
  fewer rows where batch_size does not divide them. Batches are padded to `length` (default:
  batch_size). With xp=jax.numpy, step and seed may be traced. Raises ValueError when batch_size is
  not in [1, rows].
  """
  steps = steps_per_epoch(rows, batch_size)
  epoch = step // steps
  start = xp.asarray(step % steps).astype(xp.int32) * xp.int32(batch_size)
  last = xp.minimum(xp.int32(rows - 1) - start, xp.int32(batch_size - 1))
  place_B = xp.arange(length or batch_size, dtype=xp.int32)
  real_B = place_B <= last
  rows_B = start + xp.where(real_B, place_B, 0)
  if shuffle:
    rows_B = permute(rows_B, rows, seed, epoch, xp)
  return BatchRows(rows_B, real_B.astype(xp.float32))


def permute(index_B: Any, n: int, seed: Any, epoch: Any, xp: Any = np) -> Any:
  """Where each index of [0, n) goes in the order of (seed, epoch): int32.

  This is a bijection for any 1 <= n <= 2^31. With xp=jax.numpy, index, seed and epoch may be
  traced, and the function may be vmapped.
  """
  bits = max(1, (n - 1).bit_length())
  keys = hashing.hash_words(seed, epoch, xp.arange(2 * _ROUNDS, dtype=xp.uint32), xp=xp)
  x_B = index_B.astype(xp.uint32)
  walk = _walk_numpy if xp is np else _walk_jax
  return walk(x_B, n, keys, bits).astype(xp.int32)


def _mix(x: Any, keys: Any, bits: int, xp: Any) -> Any:
  mask = xp.uint32((1 << bits) - 1)
  half = xp.uint32((bits + 1) // 2)
  for r in range(_ROUNDS):
    added, factor = keys[2 * r : 2 * r + 2]
    x = ((x + added) * (factor | xp.uint32(1))) & mask
    x = x ^ (x >> half)
  return x


def _walk_numpy(x_B: np.ndarray, n: int, keys: np.ndarray, bits: int) -> np.ndarray:
  out_B = _mix(x_B, keys, bits, np)
  todo = np.flatnonzero(out_B >= np.uint32(n))
  while todo.size:
    again = _mix(out_B[todo], keys, bits, np)
    out_B[todo] = again
    todo = todo[again >= np.uint32(n)]
  return out_B


def _walk_jax(x_B: jax.Array, n: int, keys: jax.Array, bits: int) -> jax.Array:
  limit = jnp.uint32(n)
  return jax.lax.while_loop(
    lambda x: jnp.any(x >= limit),
    lambda x: jnp.where(x < limit, x, _mix(x, keys, bits, jnp)),
    _mix(x_B, keys, bits, jnp),
  )
