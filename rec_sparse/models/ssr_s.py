"""SSR-S: filter by a fixed random subset per view, fuse densely.

arXiv 2604.08011, equations 3, 4, 6 to 9.
`filter=learned` is a control: the same network, but its views choose their subsets in a warm-up.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rec_sparse import flops
from rec_sparse.config import Config
from rec_sparse.config import setting
from rec_sparse.models import layers
from rec_sparse.models import norms
from rec_sparse.models.architecture import Architecture
from rec_sparse.models.architecture import Inputs
from rec_sparse.models.architecture import Rows
from rec_sparse.models.architecture import Served
from rec_sparse.models.architecture import Variables
from rec_sparse.models.marks import marked
from rec_sparse.sparsity import learned_filter
from rec_sparse.sparsity import static_filter


@dataclasses.dataclass(frozen=True)
class Options(layers.ViewOptions):
  """Section 3 of the paper: a fixed random subset of dimensions per view."""

  residual: bool = setting(
    False, 'adds what a view kept to its fused output, before the normalization'
  )
  filter_unit: Literal['dimension', 'field'] = setting(
    'dimension', 'what the first layer keeps or drops as a whole'
  )
  filter_draw: Literal['layer', 'shared'] = setting(
    'layer', 'every layer draws anew, or all layers from the same numbers'
  )
  filter: Literal['random', 'learned'] = setting(
    'random', 'what was drawn for good, or only to start the warm-up from'
  )
  filter_warmup: int = setting(
    100, 'learned: steps in which a view chooses what it keeps; fixed from then on', least=1
  )


class LearnedFuse(nn.Module):
  """Equations 3, 4 and 6, and LN, where M_v is learned: x_NxB -> z_VxHxB, the masked form of
  keeping and fusing.

  The kernel has a row for every input; rows outside the mask contribute nothing. The mask in force
  and the count of training steps are in the collection `masks`: training moves them,
  evaluation uses them as they are. After `warmup` steps the mask stays what it is, and neither the
  scores nor the rows outside it receive a gradient.
  """

  features: int  # d_v: what a view keeps, and what it puts out
  unit: int  # dimensions that are kept or dropped as a whole
  warmup: int  # training steps

  @nn.compact
  def __call__(
    self, x_NxB: jax.Array, filter_: static_filter.StaticFilter, *, train: bool
  ) -> jax.Array:
    drawn_VxU = jnp.any(static_filter.mask(filter_), -1)[:, :: self.unit]
    scores_init = marked(learned_filter.initial_scores, 'views')
    scores_VxU = self.param('scores', scores_init, drawn_VxU)
    steps = self.variable('masks', 'steps', lambda: jnp.int32(0))
    in_force = self.variable('masks', 'mask', lambda: drawn_VxU)  # units kept: (V, U)
    views, inputs, features = len(drawn_VxU), x_NxB.shape[0], self.features
    kernel_init = marked(_glorot_of_kept, 'views', decays=True)
    bias_init = marked(nn.initializers.zeros, 'views')
    kernel_VxNxH = self.param('kernel', kernel_init, (views, inputs, features))
    bias_VxH = self.param('bias', bias_init, (views, features))

    def by_dimension(of_VxU: jax.Array) -> jax.Array:
      return jnp.repeat(of_VxU, self.unit, -1)

    masked_VxNxH = kernel_VxNxH * by_dimension(in_force.value).astype(jnp.float32)[..., None]
    if train:
      learning = steps.value < self.warmup
      chosen_VxU = learned_filter.largest(scores_VxU, features // self.unit)
      choosing_VxNxH = learned_filter.masked(
        kernel_VxNxH, by_dimension(chosen_VxU), by_dimension(scores_VxU)
      )
      masked_VxNxH = jnp.where(learning, choosing_VxNxH, masked_VxNxH)
      in_force.value = jnp.where(learning, chosen_VxU, in_force.value)
      steps.value = steps.value + 1
    z_VxHxB = nn.gelu(
      jnp.einsum('nb,vnh->vhb', x_NxB, masked_VxNxH.astype(x_NxB.dtype))
      + bias_VxH.astype(x_NxB.dtype)[..., None]
    )
    return norms.LayerNorm(name='norm')(z_VxHxB)


def _glorot_of_kept(key: jax.Array, shape_VxNxH: tuple[int, int, int]) -> jax.Array:
  """Glorot-uniform as SSR-S has it: d_v of the N inputs count, as many as there are outputs."""
  bound = (3.0 / shape_VxNxH[-1]) ** 0.5
  return jax.random.uniform(key, shape_VxNxH, minval=-bound, maxval=bound)


class SSRS(nn.Module):
  """`depth` layers of `views` parallel views, whose filters are constants."""

  config: Config
  inputs: Inputs

  @nn.compact
  def __call__(self, rows: Rows, weight_B: jax.Array | None = None, *, train: bool) -> jax.Array:
    cfg = self.config
    x_NxB = layers.Input(cfg, name='input')(rows['embedding'], weight_B, train=train)
    for i, width in enumerate(layers.view_widths(cfg)):
      filter_ = self.get_variable('constants', f'layer_{i}')
      if cfg.options.filter == 'learned':
        fuse = LearnedFuse(width, _unit(cfg, i), cfg.options.filter_warmup, name=f'layer_{i}')
        z_VxHxB = fuse(x_NxB, filter_, train=train)
      else:
        h_VxKxB = static_filter.keep(filter_, x_NxB)  # equations 3 and 4
        # equation 6, and LN
        z_VxHxB = layers.Fuse(width, cfg.options.residual, name=f'layer_{i}')(h_VxKxB)
      drop = layers.Dropout(cfg.dropout, cfg.batch_size, name=f'dropout_{i}')
      z_VxHxB = drop(z_VxHxB, train=train)
      x_NxB = z_VxHxB.reshape(-1, z_VxHxB.shape[-1])  # equation 7
    mean_HxB = jnp.mean(z_VxHxB, 0, dtype=jnp.float32)  # equation 8
    return layers.Head(cfg.head_hidden, self.inputs.tasks, name='head')(mean_HxB)  # equation 9


def filters(cfg: Config, inputs: Inputs, seed: int) -> dict[str, static_filter.StaticFilter]:
  """The filter of every layer, where a learned one starts; the seed fixes them.

  A view keeps as many dimensions as it puts out. Raises ValueError when a view would keep more than
  there are, or no whole number of fields.
  """
  drawn = {}
  size = inputs.size
  for i, width in enumerate(layers.view_widths(cfg)):
    layer = i if cfg.options.filter_draw == 'layer' else 0
    drawn[f'layer_{i}'] = static_filter.draw(
      seed, layer, inputs=size, views=cfg.views, kept=width, unit=_unit(cfg, i)
    )
    size = cfg.views * width
  return drawn


def kept_inputs(cfg: Config, moving: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """mask_VxN in force of every layer; {} where filters are not learned."""
  if cfg.options.filter != 'learned':
    return {}
  return {
    f'layer_{i}': np.repeat(np.asarray(moving['masks'][f'layer_{i}']['mask']), _unit(cfg, i), -1)
    for i in range(cfg.depth)
  }


def merge(cfg: Config, inputs: Inputs, variables: Variables) -> Served:
  """A learned filter ends as a fixed one: of its kernels the rows that its masks keep."""
  if cfg.options.filter == 'random':
    return Served(SSRS(cfg, inputs), variables)
  params = dict(variables['params'])
  constants = {}
  for name, mask_VxN in kept_inputs(cfg, variables).items():
    indices_VxK = np.stack([np.flatnonzero(mask_N) for mask_N in mask_VxN]).astype(np.int32)
    inverse_NxM = static_filter.invert(indices_VxK, mask_VxN.shape[1])
    constants[name] = static_filter.StaticFilter(indices_VxK, inverse_NxM)

    layer = dict(params[name])
    del layer['scores']
    layer['kernel'] = np.take_along_axis(np.asarray(layer['kernel']), indices_VxK[..., None], 1)
    params[name] = layer

  fixed = dataclasses.replace(cfg, options=dataclasses.replace(cfg.options, filter='random'))
  moving = {name: moved for name, moved in variables.items() if name != 'masks'}
  return Served(SSRS(fixed, inputs), moving | {'params': params, 'constants': constants})


def _unit(cfg: Config, layer: int) -> int:
  """Dimensions that the filter of a layer keeps or drops as a whole."""
  return cfg.embedding_dim if cfg.options.filter_unit == 'field' and layer == 0 else 1


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """Parameters and forward FLOPs per example: kept connections only, the gather is free.

  A learned filter also trains the rows that its masks leave out, and a score per unit: they are
  idle.
  """
  parts = []
  size = inputs.size
  for i, width in enumerate(layers.view_widths(cfg)):
    parts.append(cfg.views * (flops.linear(width, width) + flops.norm(width)))
    if cfg.options.filter == 'learned':
      idle = (size - width) * width + size // _unit(cfg, i)
      parts.append(cfg.views * flops.Cost(params=idle, flops=0, idle=idle))
    size = cfg.views * width
  return flops.total(parts) + layers.head_cost(width, cfg.head_hidden, inputs.tasks)


def check(cfg: Config) -> None:
  """Raises ValueError naming settings that do not go together."""
  layers.check_views(cfg)
  if cfg.options.residual and cfg.options.filter == 'learned':
    raise ValueError(
      'filter=learned: needs residual=false, a mask gives what it keeps no place in the output'
    )


ARCHITECTURE = Architecture(
  SSRS,
  cost,
  Options,
  constants=filters,
  knobs=('width', 'depth', 'views'),
  check=check,
  merge=merge,
  forms={'code': {'residual': True, 'head_hidden': (64,)}},
  kept_inputs=kept_inputs,
)
