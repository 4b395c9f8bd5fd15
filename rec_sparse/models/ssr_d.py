"""SSR-D: filter by Iterative Competitive Sparse, fuse densely (arXiv 2604.08011, equations 3, 5 to
14).
"""

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from rec_sparse import flops
from rec_sparse.config import Config
from rec_sparse.config import setting
from rec_sparse.config import share
from rec_sparse.models import layers
from rec_sparse.models.architecture import Architecture
from rec_sparse.models.architecture import Inputs
from rec_sparse.models.architecture import Rows
from rec_sparse.models.marks import marked
from rec_sparse.sparsity import gates
from rec_sparse.sparsity import ics


@dataclasses.dataclass(frozen=True)
class Options(layers.ViewOptions):
  """Sections 3 and 4 of the paper: a learned projection, then competition."""

  projection_ratio: float = setting(
    2.0, 'd_v* / d_v; the paper says only "typically d_v* > d_v"', above=0
  )
  value_gate: bool = setting(
    False, 'multiplies the filtered projection with a second one, x W_value'
  )
  residual: bool = setting(
    False, 'adds the filtered projection to its fused output, before the normalization'
  )
  gate: Literal[
    'ics',
    'one_iteration',
    'relu',
    'soft_threshold',
    'top_k',
    'top_k_values',
    'dropout',
    'sigmoid',
    'gumbel',
    'sparsemax',
    'entmax15',
    'identity',
  ] = setting('ics', 'the filter, or a control in its place')
  iterations: int = setting(5, 'T of equation 12', least=1)
  alpha: float = setting(0.1, 'initial extinction rate alpha_t of equation 12', least=0)
  alpha_shape: Literal['iteration', 'scalar', 'dimension'] = setting(
    'iteration', 'an alpha per iteration, one in all, or one per iteration and dimension'
  )
  alpha_sign: Literal['free', 'positive'] = setting(
    'free', 'positive: softplus of a free parameter'
  )
  gamma: bool = setting(True, 'learnable output scale of equation 14')
  gate_kept: float = setting(0.5, 'top_k: share of the d_v* dimensions kept', above=0, most=1)
  gate_dropout: float = share(0.5, 'dropout gate: share of the d_v* dimensions dropped')
  gate_temperature: float = setting(1.0, 'gumbel: of the relaxed bits', above=0)
  gate_mass: float = setting(
    0.25, 'sparsemax, entmax15: mean output per dimension before gamma', above=0
  )


class Compete(nn.Module):
  """h_v = ICS(x W_v): a projection without bias, then the competition among its dimensions
  (equations 5, 10 to 14).

  `gate` puts a control in place of ICS, with the same parameters. With `value_gate`, h_v = ICS(x
  W_v) (x W_v^value).
  """

  views: int  # b
  features: int  # d_v*
  options: Options
  examples: int  # of a batch, without padding

  @nn.compact
  def __call__(self, x_NxB: jax.Array, *, train: bool) -> jax.Array:
    views, features, options = self.views, self.features, self.options
    glorot = nn.initializers.glorot_normal(in_axis=-2, out_axis=-1, batch_axis=(0,))
    init = marked(glorot, 'views', decays=True, shared_inputs=True)

    def project(name: str) -> jax.Array:
      kernel_VxNxK = self.param(name, init, (views, x_NxB.shape[0], features))
      return jnp.einsum('nb,vnk->vkb', x_NxB, kernel_VxNxK.astype(x_NxB.dtype))

    gamma_VxK = (
      self.param('gamma', marked(nn.initializers.ones, 'views'), (views, features))
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
    init = marked(nn.initializers.constant(start), 'views')
    raw = self.param('alpha', init, (self.views, *shape[options.alpha_shape]))
    alpha = raw if options.alpha_sign == 'free' else ics.positive(raw)
    return jnp.repeat(alpha, options.iterations, -1) if options.alpha_shape == 'scalar' else alpha


def gate_options(options: Options, examples: int | None = None) -> gates.Options:
  """What the config tells a gate; in training, also how many examples a batch has."""
  return gates.Options(
    options.gate_kept, options.gate_dropout, options.gate_temperature, options.gate_mass, examples
  )


class SSRD(nn.Module):
  """`depth` layers of `views` parallel views."""

  config: Config
  inputs: Inputs

  @nn.compact
  def __call__(self, rows: Rows, weight_B: jax.Array | None = None, *, train: bool) -> jax.Array:
    cfg = self.config
    x_NxB = layers.Input(cfg, name='input')(rows['embedding'], weight_B, train=train)
    for i, (projection, width) in enumerate(layer_widths(cfg)):
      compete = Compete(cfg.views, projection, cfg.options, cfg.batch_size, name=f'filter_{i}')
      h_VxKxB = compete(x_NxB, train=train)  # equations 3 and 5
      # equation 6, and LN
      z_VxHxB = layers.Fuse(width, cfg.options.residual, name=f'layer_{i}')(h_VxKxB)
      drop = layers.Dropout(cfg.dropout, cfg.batch_size, name=f'dropout_{i}')
      z_VxHxB = drop(z_VxHxB, train=train)
      x_NxB = z_VxHxB.reshape(-1, z_VxHxB.shape[-1])  # equation 7
    mean_HxB = jnp.mean(z_VxHxB, 0, dtype=jnp.float32)  # equation 8
    return layers.Head(cfg.head_hidden, self.inputs.tasks, name='head')(mean_HxB)  # equation 9


def layer_widths(cfg: Config) -> list[tuple[int, int]]:
  """(d_v*, d_v) of each layer."""
  ratio = cfg.options.projection_ratio
  return [(max(round(ratio * width), 1), width) for width in layers.view_widths(cfg)]


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """Parameters and forward FLOPs per example, the work of the gate (T rounds of ICS) included."""
  options = cfg.options
  projections = 1 + options.value_gate
  parts = []
  size = inputs.size
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
    project = projections * flops.linear(size, projection, bias=False)
    fuse = flops.linear(projection, width) + flops.norm(width)
    parts.append(cfg.views * (project + compete + fuse))
    size = cfg.views * width
  return flops.total(parts) + layers.head_cost(width, cfg.head_hidden, inputs.tasks)


def check(cfg: Config) -> None:
  """Raises ValueError naming settings that do not go together."""
  layers.check_views(cfg)
  options = cfg.options
  if options.alpha_sign == 'positive' and not options.alpha > 0:
    raise ValueError(f'alpha={options.alpha}: expected above 0 with alpha_sign=positive')
  if options.residual and options.projection_ratio != 1.0:
    raise ValueError(
      f'projection_ratio={options.projection_ratio}: a residual needs 1, d_v* equal to d_v'
    )


ARCHITECTURE = Architecture(
  SSRD,
  cost,
  Options,
  knobs=('width', 'depth', 'views'),
  check=check,
  forms={'code': {'residual': True, 'value_gate': True, 'projection_ratio': 1.0}},
)
