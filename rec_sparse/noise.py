"""Noise that does not depend on how far a batch is padded."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def for_examples(
  draw: Callable[[tuple[int, ...]], jax.Array], shape: tuple[int, ...], examples: int
) -> jax.Array:
  """`draw` of an array of `shape`, whose last axis counts examples; those beyond `examples` get 0.

  What is drawn depends on the whole shape: without this, a batch padded to divide over more devices
  would have other noise.
  """
  drawn = draw((*shape[:-1], min(examples, shape[-1])))
  padding = [(0, 0)] * (len(shape) - 1) + [(0, shape[-1] - drawn.shape[-1])]
  return jnp.pad(drawn, padding)
