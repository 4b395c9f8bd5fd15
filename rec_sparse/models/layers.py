"""What every architecture shares: input block, hidden layers, head, views. Feature-major inside
(`x_NxB`).
"""

import dataclasses
import functools
import itertools
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from rec_sparse import flops
from rec_sparse import noise
from rec_sparse.config import Config
from rec_sparse.config import is_off
from rec_sparse.config import setting
from rec_sparse.models import norms
from rec_sparse.models.marks import marked
from rec_sparse.unfused import unfused

TILE = 16  # examples: a vector register of floats


class Input(nn.Module):
  """rows_BxFxD -> x_NxB, N = F * D: normalization, flattening, dropout. The same block in every
  arm.

  In normalizations by batches, examples of weight 0 count for nothing (None: all count).
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
      weight_B = jnp.ones(rows_BxFxD.shape[:1]) if weight_B is None else weight_B
      rows_BxFxD = norms.FieldNorm(name='norm')(rows_BxFxD, weight_B, train=train)
    x_BxN = rows_BxFxD.reshape(rows_BxFxD.shape[0], -1)
    if cfg.input_norm == 'layer':
      x_BxN = nn.LayerNorm(epsilon=norms.EPSILON, name='norm')(x_BxN)
    drop = Dropout(cfg.embedding_dropout, cfg.batch_size, name='dropout')
    x_NxB = drop(transposed(x_BxN), train=train)
    return x_NxB.astype(cfg.compute_dtype)


def transposed(x_BxN: jax.Array) -> jax.Array:
  """x_NxB; on CPU one copy each way, where XLA would else fuse a walk in strides into each reader.

  By tiles of the batch, because only then XLA lays the gradient out by examples before it reads
  that as rows. A batch that TILE and up to 64 devices do not divide evenly goes in one piece, so
  that no tile spans two devices.
  """
  batch, inputs = x_BxN.shape
  if batch % (TILE * 64):
    return unfused(jnp.transpose, x_BxN)

  def by_tiles(x_BxN: jax.Array) -> jax.Array:
    return x_BxN.reshape(-1, TILE, inputs).transpose(2, 0, 1).reshape(inputs, batch)

  return unfused(by_tiles, x_BxN, elsewhere=jnp.transpose)


class Dropout(nn.Module):
  """Drops a share of x_XxB, or of any array whose last axis counts examples, in training."""

  rate: float | jax.Array
  examples: int  # of a batch; what pads it beyond draws nothing

  @nn.compact
  def __call__(self, x_XxB: jax.Array, *, train: bool) -> jax.Array:
    if not train or is_off(self.rate):
      return x_XxB
    keep = 1 - self.rate
    draw = functools.partial(jax.random.bernoulli, self.make_rng('dropout'), keep)
    scale = jnp.asarray(1 / keep, x_XxB.dtype)
    return jnp.where(noise.for_examples(draw, x_XxB.shape, self.examples), x_XxB * scale, 0)


class Linear(nn.Module):
  """y_HxB = W^T x_NxB + bias, Glorot-uniform W (N, H), normalized as `norm` says."""

  features: int  # H
  norm: str = 'none'  # of y, as `hidden_norm` has it
  bias: bool = True  # whether there is one; needed with norm=batch

  @nn.compact
  def __call__(
    self, x_NxB: jax.Array, weight_B: jax.Array | None = None, *, train: bool = False
  ) -> jax.Array:
    init = marked(nn.initializers.glorot_uniform(), None, 'outputs', decays=True)
    kernel_NxH = self.param('kernel', init, (x_NxB.shape[0], self.features))
    if not self.bias:
      return self.product(kernel_NxH, x_NxB)
    bias_H = self.param('bias', nn.initializers.zeros, (self.features,))
    if self.norm == 'batch' and not train:
      gain_H, shift_H = norms.UnitNorm(self.features, name='norm')()
      kernel_NxH = kernel_NxH * gain_H[None]
      bias_H = bias_H * gain_H + shift_H

    y_HxB = self.product(kernel_NxH, x_NxB) + bias_H.astype(x_NxB.dtype)[:, None]
    if self.norm == 'batch' and train:
      exact_HxB = y_HxB.astype(jnp.float32)
      gain_H, shift_H = norms.UnitNorm(self.features, name='norm')(exact_HxB, weight_B)
      y_HxB = (exact_HxB * gain_H[:, None] + shift_H[:, None]).astype(y_HxB.dtype)
    elif self.norm == 'layer':
      y_HxB = norms.LayerNorm(name='norm')(y_HxB)
    return y_HxB

  def product(self, kernel_NxH: jax.Array, x_NxB: jax.Array) -> jax.Array:
    """W^T x_NxB; serving/compacted.py puts compact kernels in its place."""
    return jnp.einsum('nb,nh->hb', x_NxB, kernel_NxH.astype(x_NxB.dtype))


def hidden(
  cfg: Config,
  x_NxB: jax.Array,
  weight_B: jax.Array | None = None,
  widths: tuple[int, ...] | None = None,
  *,
  train: bool,
) -> jax.Array:
  """What the last of `activations` gives; x_NxB itself if there is no layer."""
  return [x_NxB, *activations(cfg, x_NxB, weight_B, widths, train=train)][-1]


def activations(
  cfg: Config,
  x_NxB: jax.Array,
  weight_B: jax.Array | None = None,
  widths: tuple[int, ...] | None = None,
  *,
  train: bool,
) -> list[jax.Array]:
  """What each layer of `widths` units gives, as modules layer_i of the caller.

  By default they are `depth` layers of `width`.

  Each is linear, `hidden_norm`, ReLU, dropout. Examples of weight 0 count for nothing (None: all
  count).
  """
  given = []
  for i, features in enumerate(_widths(cfg, widths)):
    linear = Linear(features, cfg.hidden_norm, name=f'layer_{i}')
    x_NxB = nn.relu(linear(x_NxB, weight_B, train=train))
    x_NxB = Dropout(cfg.dropout, cfg.batch_size, name=f'dropout_{i}')(x_NxB, train=train)
    given.append(x_NxB)
  return given


def hidden_cost(inputs: int, cfg: Config, widths: tuple[int, ...] | None = None) -> flops.Cost:
  """What `hidden` costs on inputs of that size; what is folded for inference has no FLOPs."""
  widths = _widths(cfg, widths)
  linear = flops.total(flops.linear(n, h) for n, h in itertools.pairwise((inputs, *widths)))
  return linear + flops.norm(sum(widths) if cfg.hidden_norm != 'none' else 0)


def hidden_size(inputs: int, cfg: Config, widths: tuple[int, ...] | None = None) -> int:
  """Units that `hidden` gives on inputs of that size: its inputs where it has no layer."""
  return (inputs, *_widths(cfg, widths))[-1]


def _widths(cfg: Config, widths: tuple[int, ...] | None) -> tuple[int, ...]:
  return (cfg.width,) * cfg.depth if widths is None else widths


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


def mlp_cost(
  inputs: int, cfg: Config, tasks: int, widths: tuple[int, ...] | None = None
) -> flops.Cost:
  """What `hidden` and a `Head` on it cost."""
  head = head_cost(hidden_size(inputs, cfg, widths), cfg.head_hidden, tasks)
  return hidden_cost(inputs, cfg, widths) + head


def linear_per_view(module: nn.Module, x_VxNxB: jax.Array, features: int) -> jax.Array:
  """y_VxHxB = W_v^T x_VxNxB + bias_v, H = features, Glorot-uniform W_v (N, H).

  One batched product; its parameters are `kernel` and `bias` of the module.
  """
  views, inputs = x_VxNxB.shape[:2]
  glorot = nn.initializers.glorot_uniform(in_axis=-2, out_axis=-1, batch_axis=(0,))
  kernel_init = marked(glorot, 'views', decays=True)
  bias_init = marked(nn.initializers.zeros, 'views')
  kernel_VxNxH = module.param('kernel', kernel_init, (views, inputs, features))
  bias_VxH = module.param('bias', bias_init, (views, features)).astype(x_VxNxB.dtype)
  product_VxHxB = jnp.einsum('vnb,vnh->vhb', x_VxNxB, kernel_VxNxH.astype(x_VxNxB.dtype))
  return product_VxHxB + bias_VxH[..., None]


class Fuse(nn.Module):
  """LN(GELU(h_v V_v + bias_v)) of all views in one batched product: SSR equations 6 and 7."""

  features: int  # d_v
  residual: bool  # LN(GELU(...) + h_v), as in the official code

  @nn.compact
  def __call__(self, h_VxKxB: jax.Array) -> jax.Array:
    z_VxHxB = nn.gelu(linear_per_view(self, h_VxKxB, self.features))
    return norms.LayerNorm(name='norm')(z_VxHxB + h_VxKxB if self.residual else z_VxHxB)


@dataclasses.dataclass(frozen=True)
class ViewOptions:
  """What the options of every multi-view model begin with."""

  form: Literal['paper', 'code'] = setting(
    'paper', "the paper's equations, or the official code: defaults of other settings"
  )
  view_widths: tuple[int, ...] = setting(
    (), 'd_v of each layer; empty: `width` in all `depth` layers', least=1
  )


def view_widths(cfg: Config) -> tuple[int, ...]:
  """d_v of each layer of a multi-view model."""
  return cfg.options.view_widths or (cfg.width,) * cfg.depth


def check_views(cfg: Config) -> None:
  """Raises ValueError when a multi-view model has no layer, or not a width for each.

  So does a normalization of hidden units: the one after each view is part of the model.
  """
  if cfg.hidden_norm != 'none':
    raise ValueError(
      f'hidden_norm={cfg.hidden_norm}: views have a layer normalization of their own; expected none'
    )
  if cfg.depth < 1:
    raise ValueError(f'depth={cfg.depth}: expected at least 1')
  widths = cfg.options.view_widths
  if widths and len(widths) != cfg.depth:
    shown = ','.join(map(str, widths))
    raise ValueError(f'view_widths={shown}: expected {cfg.depth} widths, one a layer')
