"""SSR-S: filter by a fixed random subset per view, fuse densely (arXiv 2604.08011, equations 3, 4, 6 to 9)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rec_sparse import config as config_lib
from rec_sparse import flops
from rec_sparse.models import layers
from rec_sparse.sparsity import static_filter


class SSRS(nn.Module):
  """`depth` layers of `views` parallel views; the filters are constants in the collection `filters`."""

  config: config_lib.Config
  tasks: int  # T

  @nn.compact
  def __call__(self, rows_BxFxD: jax.Array, *, train: bool) -> jax.Array:
    cfg = self.config
    x_NxB = layers.Input(cfg, name='input')(rows_BxFxD, train=train)
    for i, width in enumerate(view_widths(cfg)):
      h_VxKxB = static_filter.keep(self.get_variable('filters', f'layer_{i}'), x_NxB)  # equations 3 and 4
      z_VxHxB = layers.Fuse(width, cfg.options.residual, name=f'layer_{i}')(h_VxKxB)  # equation 6, and LN
      z_VxHxB = nn.Dropout(cfg.dropout, deterministic=not train, name=f'dropout_{i}')(z_VxHxB)
      x_NxB = z_VxHxB.reshape(-1, z_VxHxB.shape[-1])  # equation 7
    return layers.Head(cfg.head_hidden, self.tasks, name='head')(jnp.mean(z_VxHxB, 0))  # equations 8 and 9


def filters(cfg: config_lib.Config, inputs: int, seed: int) -> dict[str, static_filter.StaticFilter]:
  """The filter of every layer; the seed fixes them. A view keeps as many dimensions as it puts out (d_v).

  Raises ValueError when a view would keep more dimensions than there are, or no whole number of fields.
  """
  drawn = {}
  for i, width in enumerate(view_widths(cfg)):
    unit = cfg.embedding_dim if cfg.options.filter_unit == 'field' and i == 0 else 1
    layer = i if cfg.options.filter_draw == 'layer' else 0
    drawn[f'layer_{i}'] = static_filter.draw(seed, layer, inputs=inputs, views=cfg.views, kept=width, unit=unit)
    inputs = cfg.views * width
  return drawn


def view_widths(cfg: config_lib.Config) -> tuple[int, ...]:
  """d_v of each layer."""
  return cfg.options.view_widths or (cfg.width,) * cfg.depth


def cost(cfg: config_lib.Config, inputs: int, tasks: int) -> flops.Cost:
  """Parameters and forward FLOPs per example: kept connections only, the gather is free."""
  del inputs  # a view reads d_v dimensions however wide the input is
  widths = view_widths(cfg)
  layer = lambda d_v: cfg.views * (flops.linear(d_v, d_v) + flops.norm(d_v))
  return flops.total(map(layer, widths)) + layers.head_cost(widths[-1], cfg.head_hidden, tasks)
