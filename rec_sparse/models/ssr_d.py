"""SSR-D: filter by Iterative Competitive Sparse, fuse densely (arXiv 2604.08011, equations 3, 5 to
14).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rec_sparse import config as config_lib
from rec_sparse import flops
from rec_sparse.models import layers
from rec_sparse.sparsity import gates
from rec_sparse.sparsity import ics


class Compete(nn.Module):
  """h_v = ICS(x W_v): a projection without bias, then the competition among its dimensions
  (equations 5, 10 to 14).

  `gate` puts a control in place of ICS, with the same parameters. With `value_gate`, h_v = ICS(x
  W_v) (x W_v^value).
  """

  views: int  # b
  features: int  # d_v*
  options: config_lib.SSRD
  examples: int  # of a batch, without padding

  @nn.compact
  def __call__(self, x_NxB: jax.Array, *, train: bool) -> jax.Array:
    views, features, options = self.views, self.features, self.options
    init = nn.initializers.glorot_normal(in_axis=-2, out_axis=-1, batch_axis=(0,))

    def project(name: str) -> jax.Array:
      kernel_VxNxK = self.param(name, init, (views, x_NxB.shape[0], features))
      return jnp.einsum('nb,vnk->vkb', x_NxB, kernel_VxNxK.astype(x_NxB.dtype))

    gamma_VxK = (
      self.param('gamma', nn.initializers.ones, (views, features))
      if options.gamma
      else jnp.ones((views, features))
    )
    key = self.make_rng('dropout') if train else None
    z_VxKxB, gate_params = project('kernel'), gates.Params(self._alpha(), gamma_VxK)
    # for launch.analyze; nothing unless collected
    self.sow('intermediates', 'competition', (z_VxKxB, *gate_params))
    told = gate_options(options, self.examples)
    h_VxKxB = gates.GATES[options.gate](z_VxKxB, gate_params, told, key)
    return h_VxKxB * project('value_kernel') if options.value_gate else h_VxKxB

  def _alpha(self) -> jax.Array:
    """(V, I), or (V, K, I) where every dimension has its own."""
    options = self.options
    shape = {
      'iteration': (options.iterations,),
      'scalar': (1,),
      'dimension': (self.features, options.iterations),
    }
    start = (
      options.alpha
      if options.alpha_sign == 'free'
      else ics.positive_inverse(jnp.float32(options.alpha))
    )
    raw = self.param(
      'alpha', nn.initializers.constant(start), (self.views, *shape[options.alpha_shape])
    )
    alpha = raw if options.alpha_sign == 'free' else ics.positive(raw)
    return jnp.repeat(alpha, options.iterations, -1) if options.alpha_shape == 'scalar' else alpha


def gate_options(options: config_lib.SSRD, examples: int | None = None) -> gates.Options:
  """What the config tells a gate; in training, also how many examples a batch has."""
  return gates.Options(
    options.gate_kept, options.gate_dropout, options.gate_temperature, options.gate_mass, examples
  )


class SSRD(nn.Module):
  """`depth` layers of `views` parallel views."""

  config: config_lib.Config
  tasks: int  # T

  @nn.compact
  def __call__(
    self, rows_BxFxD: jax.Array, weight_B: jax.Array | None = None, *, train: bool
  ) -> jax.Array:
    cfg = self.config
    x_NxB = layers.Input(cfg, name='input')(rows_BxFxD, weight_B, train=train)
    for i, (projection, width) in enumerate(layer_widths(cfg)):
      compete = Compete(cfg.views, projection, cfg.options, cfg.batch_size, name=f'filter_{i}')
      h_VxKxB = compete(x_NxB, train=train)  # equations 3 and 5
      # equation 6, and LN
      z_VxHxB = layers.Fuse(width, cfg.options.residual, name=f'layer_{i}')(h_VxKxB)
      drop = layers.Dropout(cfg.dropout, cfg.batch_size, name=f'dropout_{i}')
      z_VxHxB = drop(z_VxHxB, train=train)
      x_NxB = z_VxHxB.reshape(-1, z_VxHxB.shape[-1])  # equation 7
    mean_HxB = jnp.mean(z_VxHxB, 0, dtype=jnp.float32)  # equation 8
    return layers.Head(cfg.head_hidden, self.tasks, name='head')(mean_HxB)  # equation 9


def layer_widths(cfg: config_lib.Config) -> list[tuple[int, int]]:
  """(d_v*, d_v) of each layer."""
  widths = cfg.options.view_widths or (cfg.width,) * cfg.depth
  return [(max(round(cfg.options.projection_ratio * width), 1), width) for width in widths]


def cost(cfg: config_lib.Config, inputs: int, tasks: int) -> flops.Cost:
  """Parameters and forward FLOPs per example, the work of the gate (T rounds of ICS) included."""
  options, parts = cfg.options, []
  for projection, width in layer_widths(cfg):
    alphas = {
      'iteration': options.iterations,
      'scalar': 1,
      'dimension': projection * options.iterations,
    }
    compete = flops.Cost(
      params=alphas[options.alpha_shape] + options.gamma * projection,
      flops=gates.flops(options.gate, projection, options.iterations),
    )
    project = (1 + options.value_gate) * flops.linear(inputs, projection, bias=False)
    parts.append(
      cfg.views * (project + compete + flops.linear(projection, width) + flops.norm(width))
    )
    inputs = cfg.views * width
  return flops.total(parts) + layers.head_cost(width, cfg.head_hidden, tasks)
