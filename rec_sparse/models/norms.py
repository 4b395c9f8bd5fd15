"""The normalizations of all models: of input fields, of hidden units, of views.

Those by batches count examples of weight 0 for nothing. They evaluate by averages of what training
batches had: a batch counts with its examples, MOMENTUM times less at each later step. No start
value is mixed in, so averages are right from the first step on. Before it: mean 0, variance 1.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rec_sparse.models.marks import marked

EPSILON = 1e-6  # of the variance of a field, an example or a view
HIDDEN_EPSILON = 1e-5  # of the variance of a hidden unit over a batch, as in torch
MOMENTUM = 0.9  # of averages; a batch pools B * D numbers a field, B a hidden unit


class Moments(NamedTuple):
  """What a batch had, of fields or units X."""

  mean_X: jax.Array
  variance_X: jax.Array
  count: jax.Array  # examples of weight above 0


def averaged(module: nn.Module, size: int, batch: Moments | None) -> tuple[jax.Array, jax.Array]:
  """(mean_X, variance_X) by which a module normalizes: of `batch`; if None, of all before.

  The moments of the batch go into the module's averages.
  """
  mean = module.variable('batch_stats', 'mean', jnp.zeros, (size,))
  variance = module.variable('batch_stats', 'var', jnp.ones, (size,))
  examples = module.variable('batch_stats', 'examples', jnp.zeros, ())
  if batch is None:
    return mean.value, variance.value
  examples.value = MOMENTUM * examples.value + batch.count
  share = batch.count / examples.value
  mean.value = (1 - share) * mean.value + share * batch.mean_X
  variance.value = (1 - share) * variance.value + share * batch.variance_X
  return batch.mean_X, batch.variance_X


class FieldNorm(nn.Module):
  """Batch normalization of each field over examples and coordinates; a gain and bias per field.

  Examples of weight 0 are normalized as the others are, but are in no mean and no variance.
  """

  @nn.compact
  def __call__(self, rows_BxFxD: jax.Array, weight_B: jax.Array, *, train: bool) -> jax.Array:
    fields = rows_BxFxD.shape[1]
    scale_F = self.param('scale', nn.initializers.ones, (fields,))
    bias_F = self.param('bias', nn.initializers.zeros, (fields,))
    batch = _of_fields(rows_BxFxD, weight_B) if train else None
    mean_F, variance_F = averaged(self, fields, batch)
    gain_F = scale_F * jax.lax.rsqrt(variance_F + EPSILON)
    return (rows_BxFxD - mean_F[None, :, None]) * gain_F[None, :, None] + bias_F[None, :, None]


def _of_fields(rows_BxFxD: jax.Array, weight_B: jax.Array) -> Moments:
  real_Bx1x1 = weight_B[:, None, None] > 0
  count = jnp.sum(weight_B)
  per_number = 1 / (count * rows_BxFxD.shape[2])
  mean_F = per_number * jnp.sum(rows_BxFxD, (0, 2), where=real_Bx1x1)
  square_F = per_number * jnp.sum(jnp.square(rows_BxFxD), (0, 2), where=real_Bx1x1)
  return Moments(mean_F, jnp.maximum(square_F - jnp.square(mean_F), 0), count)


class UnitNorm(nn.Module):
  """Batch normalization of hidden units (arXiv 1502.03167) as the affine that it is.

  Gives gain_H and shift_H: a unit y becomes gain y + shift. Without a batch (evaluation) they are
  constants, so the layer before takes them into its kernel.
  """

  features: int  # H

  @nn.compact
  def __call__(
    self, y_HxB: jax.Array | None = None, weight_B: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array]:
    scale_H = self.param('scale', nn.initializers.ones, (self.features,))
    bias_H = self.param('bias', nn.initializers.zeros, (self.features,))
    batch = None if y_HxB is None else _of_units(y_HxB, weight_B)
    mean_H, variance_H = averaged(self, self.features, batch)
    return unit_affine(scale_H, bias_H, mean_H, variance_H)


def unit_affine(
  scale_H: jax.Array, bias_H: jax.Array, mean_H: jax.Array, variance_H: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """(gain_H, shift_H) of `UnitNorm`."""
  gain_H = scale_H * jax.lax.rsqrt(variance_H + HIDDEN_EPSILON)
  return gain_H, bias_H - mean_H * gain_H


def _of_units(y_HxB: jax.Array, weight_B: jax.Array | None) -> Moments:
  weight_B = jnp.ones(y_HxB.shape[1]) if weight_B is None else weight_B
  real_1xB = weight_B[None] > 0
  count = jnp.sum(weight_B)
  mean_H = jnp.sum(y_HxB, 1, where=real_1xB) / count
  square_H = jnp.sum(jnp.square(y_HxB), 1, where=real_1xB) / count
  return Moments(mean_H, jnp.maximum(square_H - jnp.square(mean_H), 0), count)


class LayerNorm(nn.Module):
  """Layer normalization over H of z_HxB, or of z_VxHxB: LN of SSR equation 7.

  Each unit has a gain and a bias, in each view or the same in all.
  """

  per_view: bool = True

  @nn.compact
  def __call__(self, z_XxB: jax.Array) -> jax.Array:
    shape = z_XxB.shape[:-1] if self.per_view else z_XxB.shape[-2:-1]
    axes = ('views',) if len(shape) == 2 else ()
    scale_X = self.param('scale', marked(nn.initializers.ones, *axes), shape)
    bias_X = self.param('bias', marked(nn.initializers.zeros, *axes), shape)
    x_XxB = z_XxB.astype(jnp.float32)
    centred_XxB = x_XxB - jnp.mean(x_XxB, -2, keepdims=True)
    variance_XxB = jnp.mean(jnp.square(centred_XxB), -2, keepdims=True)
    normal_XxB = centred_XxB * jax.lax.rsqrt(variance_XxB + EPSILON)
    gain_X, shift_X = (jnp.broadcast_to(of_X, z_XxB.shape[:-1]) for of_X in (scale_X, bias_X))
    return (normal_XxB * gain_X[..., None] + shift_X[..., None]).astype(z_XxB.dtype)
