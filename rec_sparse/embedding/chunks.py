"""A loop over chunks of rows that fit a processor's cache."""

from collections.abc import Callable
from typing import TypeVar

import jax
from jax import lax

CHUNK = 16384  # rows; 16 floats each are a megabyte
Carry = TypeVar('Carry')


def in_chunks(
  step: Callable[[Carry, tuple[jax.Array, ...]], Carry],
  carry: Carry,
  arrays_OxX: tuple[jax.Array, ...],
) -> Carry:
  """Folds `step` over the arrays: on CPU by chunks of the leading axis, elsewhere in one go.

  On CPU the rows that a chunk gathers are still in the cache when it writes them back: a step of
  row-sparse Adam with 160 k ids took 24 ms in one go and 17 ms in chunks (1 M rows), 36 and 26 ms
  (20 M rows), on a busy machine.
  """
  rows = arrays_OxX[0].shape[0]

  def chunked(carry: Carry, arrays_OxX: tuple[jax.Array, ...]) -> Carry:
    def body(k: jax.Array, carry: Carry) -> Carry:
      return step(carry, tuple(lax.dynamic_slice_in_dim(x, k * CHUNK, CHUNK) for x in arrays_OxX))

    whole, rest = divmod(rows, CHUNK)
    if whole:
      carry = lax.fori_loop(0, whole, body, carry)
    return step(carry, tuple(x[rows - rest :] for x in arrays_OxX)) if rest else carry

  return lax.platform_dependent(carry, arrays_OxX, cpu=chunked, default=step)
