"""The learned control of the static filter: subsets are found in a warm-up, then fixed.

Every view has a score per unit of its input (a dimension, or a whole field); the largest scores are
kept, as many as SSR-S keeps. Scores learn straight through the choice: edge-popup (Ramanujan et al.
2020, 1911.13299, section 3) at the granularity of an input instead of a single weight. Weights
outside the mask learn too while the views choose, from the gradient at the masked network (Lin et
al. 2020, 2006.07253): a random row that stays as it is points the wrong way half of the time, and
its input is then never found.
"""

import jax
import jax.numpy as jnp

# scores start in [0, 2 SPREAD): Adam crosses it in 2 SPREAD / learning rate steps of one sign
SPREAD = 0.1


def initial_scores(key: jax.Array, drawn_VxU: jax.Array) -> jax.Array:
  """Random scores whose largest are the units that were drawn.

  So training starts from the subset of SSR-S.
  """
  return SPREAD * (jax.random.uniform(key, drawn_VxU.shape) + drawn_VxU.astype(jnp.float32))


def largest(scores_VxU: jax.Array, kept: int) -> jax.Array:
  """Boolean mask of exactly `kept` units a view; of equal scores the first ones stay."""
  _, indices_VxJ = jax.lax.top_k(scores_VxU, kept)
  none_VxU = jnp.zeros(scores_VxU.shape, bool)
  return jnp.put_along_axis(none_VxU, indices_VxJ, True, axis=-1, inplace=False)


def straight_through(mask_VxU: jax.Array, scores_VxU: jax.Array) -> jax.Array:
  """The mask as exact zeros and ones, with the derivative of the scores.

  Units left out receive one too.
  """
  zero_VxU = scores_VxU - jax.lax.stop_gradient(scores_VxU)
  return mask_VxU.astype(scores_VxU.dtype) + zero_VxU


def masked(kernel_VxNxH: jax.Array, mask_VxN: jax.Array, scores_VxN: jax.Array) -> jax.Array:
  """The kernel with exact zeros outside the mask.

  The derivative by the kernel is that of the kernel without a mask.
  """
  fixed_VxNxH = jax.lax.stop_gradient(kernel_VxNxH)
  mask_VxNx1 = straight_through(mask_VxN, scores_VxN)[..., None]
  return fixed_VxNxH * mask_VxNx1 + (kernel_VxNxH - fixed_VxNxH)
