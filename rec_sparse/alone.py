"""Keeping an operation out of the fusions of XLA for CPU."""

from collections.abc import Callable
from typing import TypeVar

import jax
from jax import lax
import jax.numpy as jnp

Out = TypeVar('Out')


def alone(f: Callable[..., Out], *args: jax.Array) -> Out:
  """f(*args), not fused on CPU with what comes before or after, its derivative neither; elsewhere
  plainly f(*args).

  XLA for CPU fuses a gather or a transposition into the arithmetic that reads it, which then walks
  memory element by element, once more for each reader. It does not fuse across the border of a
  conditional, and the barrier keeps it from seeing that the condition always holds.
  """

  def guarded(*args: jax.Array) -> Out:
    always = lax.optimization_barrier(jnp.bool_(True))
    nothing = lambda *args: jax.tree.map(
      lambda out: jnp.zeros(out.shape, out.dtype), jax.eval_shape(f, *args)
    )
    return lax.cond(always, f, nothing, *args)

  return lax.platform_dependent(*args, cpu=guarded, default=f)
