"""What every architecture shares: input block, head, layer normalization. Feature-major inside
(`x_NxB`).
"""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp

from rec_sparse import flops
from rec_sparse import noise
from rec_sparse.config import Config
from rec_sparse.unfused import unfused

EPSILON = 1e-6  # of every variance in a normalization
MOMENTUM = 0.9  # of the averages of `input_norm=batch`; a batch pools B * D numbers a field
TILE = 16  # examples: a vector register of floats


class Input(nn.Module):
  """rows_BxFxD -> x_NxB, N = F * D: normalization, flattening, dropout. The same block in every
  arm.

  It alone looks at several examples at once: those of weight 0 count for nothing (None: all count).
  `input_norm` is 'batch' (per field, pooled over batch and coordinates), 'layer' (per example) or
  'none'. What comes out has the compute dtype, and the layers that follow compute in it with
  float32 parameters.
  """

  config: Config

  @nn.compact
  def __call__(
    self, rows_BxFxD: jax.Array, weight_B: jax.Array | None = None, *, train: bool
  ) -> jax.Array:
    cfg = self.config
    if cfg.input_norm == 'batch':
      weight_B = jnp.ones(len(rows_BxFxD)) if weight_B is None else weight_B
      rows_BxFxD = FieldNorm(name='norm')(rows_BxFxD, weight_B, train=train)
    x_BxN = rows_BxFxD.reshape(rows_BxFxD.shape[0], -1)
    if cfg.input_norm == 'layer':
      x_BxN = nn.LayerNorm(epsilon=EPSILON, name='norm')(x_BxN)
    drop = Dropout(cfg.embedding_dropout, cfg.batch_size, name='dropout')
    x_NxB = drop(transposed(x_BxN), train=train)
    return x_NxB.astype(cfg.compute_dtype)


class FieldNorm(nn.Module):
  """Batch normalization of each field over examples and coordinates; a gain and bias per field.

  Examples of weight 0 are normalized as the others are, but are in no mean and no variance.
  Evaluation uses averages of what training batches had: a batch counts with its examples, MOMENTUM
  times less at each later step. No start value is mixed in, so they are right from the first step
  on. Before it: mean 0, variance 1.
  """

  @nn.compact
  def __call__(self, rows_BxFxD: jax.Array, weight_B: jax.Array, *, train: bool) -> jax.Array:
    fields = rows_BxFxD.shape[1]
    scale_F = self.param('scale', nn.initializers.ones, (fields,))
    bias_F = self.param('bias', nn.initializers.zeros, (fields,))
    mean = self.variable('batch_stats', 'mean', jnp.zeros, (fields,))
    variance = self.variable('batch_stats', 'var', jnp.ones, (fields,))
    if self.is_mutable_collection('batch_stats'):  # evaluation needs no count, format 1 has none
      examples = self.variable('batch_stats', 'examples', jnp.zeros, ())
    if train:
      real_Bx1x1 = weight_B[:, None, None] > 0
      count = jnp.sum(weight_B)
      per_number = 1 / (count * rows_BxFxD.shape[2])
      mean_F = per_number * jnp.sum(rows_BxFxD, (0, 2), where=real_Bx1x1)
      square_F = per_number * jnp.sum(jnp.square(rows_BxFxD), (0, 2), where=real_Bx1x1)
      variance_F = jnp.maximum(square_F - jnp.square(mean_F), 0)
      examples.value = MOMENTUM * examples.value + count
      share = count / examples.value
      mean.value = (1 - share) * mean.value + share * mean_F
      variance.value = (1 - share) * variance.value + share * variance_F
    else:
      mean_F = mean.value
      variance_F = variance.value
    gain_F = scale_F * jax.lax.rsqrt(variance_F + EPSILON)
    return (rows_BxFxD - mean_F[None, :, None]) * gain_F[None, :, None] + bias_F[None, :, None]


def transposed(x_BxN: jax.Array) -> jax.Array:
  """x_NxB; on CPU one copy each way, where XLA would else fuse a walk in strides into each reader.

  By tiles of the batch, because only then XLA lays the gradient out by examples before it reads
  that as rows. A batch that TILE and up to 64 devices do not divide evenly goes in one piece, so
  that no tile spans two devices.
  """
  batch, inputs = x_BxN.shape
  if batch % (TILE * 64):
    return unfused(jnp.transpose, x_BxN)
  by_tiles = lambda x_BxN: x_BxN.reshape(-1, TILE, inputs).transpose(2, 0, 1).reshape(inputs, batch)
  return unfused(by_tiles, x_BxN)


class Dropout(nn.Module):
  """Drops a share of x_XxB, or of any array whose last axis counts examples, in training."""

  rate: float
  examples: int  # of a batch; what pads it beyond draws nothing

  @nn.compact
  def __call__(self, x_XxB: jax.Array, *, train: bool) -> jax.Array:
    if not train or not self.rate:
      return x_XxB
    keep = 1 - self.rate
    draw = functools.partial(jax.random.bernoulli, self.make_rng('dropout'), keep)
    return jnp.where(noise.for_examples(draw, x_XxB.shape, self.examples), x_XxB / keep, 0)


class Linear(nn.Module):
  """y_HxB = W^T x_NxB + bias, Glorot-uniform W (N, H)."""

  features: int  # H

  @nn.compact
  def __call__(self, x_NxB: jax.Array) -> jax.Array:
    kernel_NxH = self.param(
      'kernel', nn.initializers.glorot_uniform(), (x_NxB.shape[0], self.features)
    )
    bias_H = self.param('bias', nn.initializers.zeros, (self.features,))
    return (
      jnp.einsum('nb,nh->hb', x_NxB, kernel_NxH.astype(x_NxB.dtype))
      + bias_H.astype(x_NxB.dtype)[:, None]
    )


def hidden(cfg: Config, x_NxB: jax.Array, *, train: bool) -> jax.Array:
  """`depth` layers of `width` ReLU units with dropout, as modules layer_i of the caller."""
  for i in range(cfg.depth):
    x_NxB = nn.relu(Linear(cfg.width, name=f'layer_{i}')(x_NxB))
    x_NxB = Dropout(cfg.dropout, cfg.batch_size, name=f'dropout_{i}')(x_NxB, train=train)
  return x_NxB


def hidden_cost(inputs: int, cfg: Config) -> flops.Cost:
  """What `hidden` costs on inputs of that size."""
  widths = (inputs, *(cfg.width,) * cfg.depth)
  return flops.total(flops.linear(n, h) for n, h in itertools.pairwise(widths))


class Head(nn.Module):
  """logits_BxT = (W x + bias)^T in float32; SSR equation 9 without its sigmoid, which the loss
  applies.
  """

  hidden: tuple[int, ...]  # ReLU layers before the linear one; the paper has none
  tasks: int  # T

  @nn.compact
  def __call__(self, x_NxB: jax.Array) -> jax.Array:
    x_NxB = x_NxB.astype(jnp.float32)
    for i, features in enumerate(self.hidden):
      x_NxB = nn.relu(Linear(features, name=f'hidden_{i}')(x_NxB))
    return Linear(self.tasks, name='linear')(x_NxB).T


def head_cost(inputs: int, hidden: tuple[int, ...], tasks: int) -> flops.Cost:
  """What `Head` costs."""
  widths = (inputs, *hidden, tasks)
  return flops.total(flops.linear(n, h) for n, h in itertools.pairwise(widths))


class ViewNorm(nn.Module):
  """Layer normalization of z_VxHxB over H, with a gain and bias of its own per view (LN of SSR
  equation 7).
  """

  @nn.compact
  def __call__(self, z_VxHxB: jax.Array) -> jax.Array:
    shape = z_VxHxB.shape[:2]
    scale_VxH = self.param('scale', nn.initializers.ones, shape)
    bias_VxH = self.param('bias', nn.initializers.zeros, shape)
    x_VxHxB = z_VxHxB.astype(jnp.float32)
    centred_VxHxB = x_VxHxB - jnp.mean(x_VxHxB, 1, keepdims=True)
    variance_Vx1xB = jnp.mean(jnp.square(centred_VxHxB), 1, keepdims=True)
    normal_VxHxB = centred_VxHxB * jax.lax.rsqrt(variance_Vx1xB + EPSILON)
    return (normal_VxHxB * scale_VxH[..., None] + bias_VxH[..., None]).astype(z_VxHxB.dtype)


class Fuse(nn.Module):
  """LN(GELU(h_v V_v + bias_v)) of every view at once: SSR equations 6 and 7, one batched product."""

  features: int  # d_v
  residual: bool  # LN(GELU(...) + h_v), as in the official code

  @nn.compact
  def __call__(self, h_VxKxB: jax.Array) -> jax.Array:
    views, kept = h_VxKxB.shape[:2]
    init = nn.initializers.glorot_uniform(in_axis=-2, out_axis=-1, batch_axis=(0,))
    kernel_VxKxH = self.param('kernel', init, (views, kept, self.features)).astype(h_VxKxB.dtype)
    bias_VxH = self.param('bias', nn.initializers.zeros, (views, self.features)).astype(
      h_VxKxB.dtype
    )
    z_VxHxB = nn.gelu(jnp.einsum('vkb,vkh->vhb', h_VxKxB, kernel_VxKxH) + bias_VxH[..., None])
    return ViewNorm(name='norm')(z_VxHxB + h_VxKxB if self.residual else z_VxHxB)


def view_widths(cfg: Config) -> tuple[int, ...]:
  """d_v of each layer of a multi-view model."""
  return cfg.options.view_widths or (cfg.width,) * cfg.depth


def check_views(cfg: Config) -> None:
  """Raises ValueError when a multi-view model has no layer, or not a width for each."""
  if cfg.depth < 1:
    raise ValueError(f'depth={cfg.depth}: expected at least 1')
  widths = cfg.options.view_widths
  if widths and len(widths) != cfg.depth:
    shown = ','.join(map(str, widths))
    raise ValueError(f'view_widths={shown}: expected {cfg.depth} widths, one a layer')
