"""What every architecture shares: input block, head, layer normalization. Feature-major inside (`x_NxB`)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

EPSILON = 1e-6  # of every variance in a normalization
MOMENTUM = 0.9  # of the running statistics of `input_norm=batch`: a batch pools B * D numbers a field, short runs must count


class Input(nn.Module):
  """rows_BxFxD -> x_NxB, N = F * D: normalization, flattening, dropout. The same block in every arm."""

  norm: str  # 'batch': per field, pooled over batch and coordinates; 'layer': per example; 'none'
  dropout: float  # share of dimensions dropped in training

  @nn.compact
  def __call__(self, rows_BxFxD: jax.Array, *, train: bool) -> jax.Array:
    if self.norm == 'batch':
      rows_BxFxD = nn.BatchNorm(use_running_average=not train, axis=-2, momentum=MOMENTUM, epsilon=EPSILON,
                                name='norm')(rows_BxFxD)
    x_BxN = rows_BxFxD.reshape(rows_BxFxD.shape[0], -1)
    if self.norm == 'layer':
      x_BxN = nn.LayerNorm(epsilon=EPSILON, name='norm')(x_BxN)
    return nn.Dropout(self.dropout, deterministic=not train, name='dropout')(x_BxN.T)


class Linear(nn.Module):
  """y_HxB = W^T x_NxB + bias, Glorot-uniform W (N, H)."""

  features: int  # H

  @nn.compact
  def __call__(self, x_NxB: jax.Array) -> jax.Array:
    kernel_NxH = self.param('kernel', nn.initializers.glorot_uniform(), (x_NxB.shape[0], self.features))
    bias_H = self.param('bias', nn.initializers.zeros, (self.features,))
    return jnp.einsum('nb,nh->hb', x_NxB, kernel_NxH) + bias_H[:, None]


class Head(nn.Module):
  """logits_BxT = (W x + bias)^T in float32; SSR equation 9 without its sigmoid, which the loss applies."""

  tasks: int  # T

  @nn.compact
  def __call__(self, x_NxB: jax.Array) -> jax.Array:
    return Linear(self.tasks, name='linear')(x_NxB).T.astype(jnp.float32)


class ViewNorm(nn.Module):
  """Layer normalization of z_VxHxB over H, with a gain and bias of its own per view (LN of SSR equation 7)."""

  @nn.compact
  def __call__(self, z_VxHxB: jax.Array) -> jax.Array:
    shape = z_VxHxB.shape[:2]
    scale_VxH = self.param('scale', nn.initializers.ones, shape)
    bias_VxH = self.param('bias', nn.initializers.zeros, shape)
    mean_Vx1xB = jnp.mean(z_VxHxB, 1, keepdims=True)
    centred_VxHxB = z_VxHxB - mean_Vx1xB
    variance_Vx1xB = jnp.mean(jnp.square(centred_VxHxB), 1, keepdims=True)
    return centred_VxHxB * jax.lax.rsqrt(variance_Vx1xB + EPSILON) * scale_VxH[..., None] + bias_VxH[..., None]


class Fuse(nn.Module):
  """LN(GELU(h_v V_v + bias_v)) of every view at once: SSR equations 6 and 7, one batched product."""

  features: int  # d_v

  @nn.compact
  def __call__(self, h_VxKxB: jax.Array) -> jax.Array:
    views, kept = h_VxKxB.shape[:2]
    init = nn.initializers.glorot_uniform(in_axis=-2, out_axis=-1, batch_axis=(0,))
    kernel_VxKxH = self.param('kernel', init, (views, kept, self.features))
    bias_VxH = self.param('bias', nn.initializers.zeros, (views, self.features))
    z_VxHxB = jnp.einsum('vkb,vkh->vhb', h_VxKxB, kernel_VxKxH) + bias_VxH[..., None]
    return ViewNorm(name='norm')(nn.gelu(z_VxHxB))
