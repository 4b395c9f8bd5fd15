"""SSR-D: filter by Iterative Competitive Sparse, fuse densely (arXiv 2604.08011, equations 3, 5 to 14)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rec_sparse import config as config_lib
from rec_sparse import flops
from rec_sparse.models import layers
from rec_sparse.sparsity import ics


class Compete(nn.Module):
  """h_v = ICS(x W_v): a projection without bias, then the competition among its dimensions (equations 5, 10 to 14)."""

  views: int  # b
  features: int  # d_v*
  options: config_lib.SSRD

  @nn.compact
  def __call__(self, x_NxB: jax.Array) -> jax.Array:
    views, features, options = self.views, self.features, self.options
    init = nn.initializers.glorot_normal(in_axis=-2, out_axis=-1, batch_axis=(0,))
    kernel_VxNxK = self.param('kernel', init, (views, x_NxB.shape[0], features))
    alpha_VxT = self.param('alpha', nn.initializers.constant(options.alpha), (views, options.iterations))
    z_VxKxB = jnp.einsum('nb,vnk->vkb', x_NxB, kernel_VxNxK)
    gamma_VxK = (self.param('gamma', nn.initializers.ones, (views, features)) if options.gamma
                 else jnp.ones((views, features), z_VxKxB.dtype))
    return ics.ics(z_VxKxB, alpha_VxT, gamma_VxK, axis=-2)


class SSRD(nn.Module):
  """`depth` layers of `views` parallel views."""

  config: config_lib.Config
  tasks: int  # T

  @nn.compact
  def __call__(self, rows_BxFxD: jax.Array, *, train: bool) -> jax.Array:
    cfg = self.config
    x_NxB = layers.Input(cfg.input_norm, cfg.embedding_dropout, name='input')(rows_BxFxD, train=train)
    for i, (projection, width) in enumerate(layer_widths(cfg)):
      h_VxKxB = Compete(cfg.views, projection, cfg.options, name=f'filter_{i}')(x_NxB)  # equations 3 and 5
      z_VxHxB = layers.Fuse(width, name=f'layer_{i}')(h_VxKxB)  # equation 6, and LN
      z_VxHxB = nn.Dropout(cfg.dropout, deterministic=not train, name=f'dropout_{i}')(z_VxHxB)
      x_NxB = z_VxHxB.reshape(-1, z_VxHxB.shape[-1])  # equation 7
    return layers.Head(self.tasks, name='head')(jnp.mean(z_VxHxB, 0))  # equations 8 and 9


def layer_widths(cfg: config_lib.Config) -> list[tuple[int, int]]:
  """(d_v*, d_v) of each layer."""
  widths = cfg.options.view_widths or (cfg.width,) * cfg.depth
  return [(max(round(cfg.options.projection_ratio * width), 1), width) for width in widths]


def cost(cfg: config_lib.Config, inputs: int, tasks: int) -> flops.Cost:
  """Parameters and forward FLOPs per example; the competition's O(T d_v*) elementwise work is counted too."""
  parts = []
  for projection, width in layer_widths(cfg):
    compete = flops.Cost(params=cfg.options.iterations + cfg.options.gamma * projection,
                         flops=3 * cfg.options.iterations * projection)
    view = flops.linear(inputs, projection, bias=False) + compete + flops.linear(projection, width) + flops.norm(width)
    parts.append(cfg.views * view)
    inputs = cfg.views * width
  return flops.total([*parts, flops.linear(width, tasks)])
