"""An operation that XLA for CPU does not fuse with its neighbours."""

from collections.abc import Callable
from typing import TypeVar

import jax
from jax import lax
import jax.numpy as jnp

Out = TypeVar('Out')


def unfused(
  f: Callable[..., Out], *args: jax.Array, elsewhere: Callable[..., Out] | None = None
) -> Out:
  """f(*args), on a CPU fused with nothing before or after it; its derivative likewise.

  XLA for CPU fuses a gather or a transposition into the arithmetic that reads it, which then walks
  memory element by element, once more for each reader. It does not fuse across the border of a
  conditional, and the barrier hides that the condition always holds. Elsewhere this is f(*args).
  """

  def zeros(*args: jax.Array) -> Out:
    outputs = jax.eval_shape(f, *args)
    return jax.tree.map(lambda out: jnp.zeros(out.shape, out.dtype), outputs)

  def guarded(*args: jax.Array) -> Out:
    always = lax.optimization_barrier(jnp.bool_(True))
    return lax.cond(always, f, zeros, *args)

  return lax.platform_dependent(*args, cpu=guarded, default=elsewhere or f)
