"""DCN-V2 (arXiv 2008.13535): cross layers beside or below an MLP.

Full, equation 1: `x_{l+1} = x_0 (.) (W_l x_l + b_l) + x_l`. A mixture of low-rank experts, equation
5, with gates of each layer's own and tanh around C, without which C would be redundant:

    x_{l+1} = x_0 (.) (sum_e G_le(x_l) U_le tanh(C_le tanh(V_le^T x_l)) + b_l) + x_l

where the gates G_le are a softmax over e.
"""

import dataclasses
import functools
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from rec_sparse import flops
from rec_sparse.config import Config
from rec_sparse.config import setting
from rec_sparse.models import folded
from rec_sparse.models import layers
from rec_sparse.models.architecture import Architecture
from rec_sparse.models.architecture import Inputs
from rec_sparse.models.architecture import Rows
from rec_sparse.models.marks import marked


@dataclasses.dataclass(frozen=True)
class Options:
  """Beyond width and depth of the hidden layers."""

  structure: Literal['parallel', 'stacked'] = setting(
    'parallel', 'hidden layers beside the cross network, or on top of it'
  )
  cross_layers: int = setting(3, 'L: cross layers', least=1)
  cross: Literal['full', 'mixture'] = setting('full', 'matrices, or mixtures of low-rank experts')
  cross_rank: int = setting(32, 'mixture: r of each expert', least=1)
  cross_experts: int = setting(4, 'mixture: experts of each cross layer', least=1)


class Mixture(nn.Module):
  """x_NxB -> sum_e G_e U_e tanh(C_e tanh(V_e^T x)) + b, of the same shape."""

  rank: int
  experts: int

  @nn.compact
  def __call__(self, x_NxB: jax.Array) -> jax.Array:
    inputs = len(x_NxB)
    glorot = nn.initializers.glorot_uniform(in_axis=-2, out_axis=-1, batch_axis=(0,))
    own = marked(glorot, 'views', decays=True)
    shared = marked(glorot, 'views', decays=True, shared_inputs=True)
    v_VxNxK = self.param('v', shared, (self.experts, inputs, self.rank)).astype(x_NxB.dtype)
    c_VxKxH = self.param('c', own, (self.experts, self.rank, self.rank)).astype(x_NxB.dtype)
    u_VxKxN = self.param('u', own, (self.experts, self.rank, inputs)).astype(x_NxB.dtype)
    bias_N = self.param('bias', nn.initializers.zeros, (inputs,)).astype(x_NxB.dtype)

    gate_VxB = nn.softmax(layers.Linear(self.experts, name='gate')(x_NxB), 0)
    low_VxKxB = nn.tanh(jnp.einsum('nb,vnk->vkb', x_NxB, v_VxNxK))
    mixed_VxKxB = nn.tanh(jnp.einsum('vkb,vkh->vhb', low_VxKxB, c_VxKxH))
    return jnp.einsum('vkb,vkn->nb', mixed_VxKxB * gate_VxB[:, None], u_VxKxN) + bias_N[:, None]


class DCNV2(nn.Module):
  """`cross_layers` cross layers and `depth` hidden layers of `width` ReLU units.

  parallel: logits = w^T [x_L ; MLP(x_0)] + b. stacked: logits = w^T MLP(x_L) + b. Dropout acts in
  the MLP alone.
  """

  config: Config
  inputs: Inputs

  @nn.compact
  def __call__(self, rows: Rows, weight_B: jax.Array | None = None, *, train: bool) -> jax.Array:
    cfg = self.config
    is_parallel = cfg.options.structure == 'parallel'
    x0_NxB = layers.Input(cfg, name='input')(rows['embedding'], weight_B, train=train)

    x_NxB = x0_NxB
    for i in range(cfg.options.cross_layers):
      x_NxB = x0_NxB * self._cross(f'cross_{i}', x_NxB) + x_NxB

    below_NxB = x0_NxB if is_parallel else x_NxB
    hidden_HxB = layers.hidden(cfg, below_NxB, weight_B, train=train)
    if is_parallel:
      hidden_HxB = jnp.concatenate([x_NxB, hidden_HxB])
    return layers.Head(cfg.head_hidden, self.inputs.tasks, name='head')(hidden_HxB)

  def _cross(self, name: str, x_NxB: jax.Array) -> jax.Array:
    """What x_0 is multiplied by in a layer."""
    options = self.config.options
    if options.cross == 'full':
      return layers.Linear(len(x_NxB), name=name)(x_NxB)
    return Mixture(options.cross_rank, options.cross_experts, name=name)(x_NxB)


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """Parameters and forward FLOPs per example of the backbone and head."""
  cross = cfg.options.cross_layers * _cross_cost(cfg, inputs.size)
  last = layers.hidden_size(inputs.size, cfg)
  if cfg.options.structure == 'parallel':
    last += inputs.size
  backbone = cross + layers.hidden_cost(inputs.size, cfg)
  return backbone + layers.head_cost(last, cfg.head_hidden, inputs.tasks)


def _cross_cost(cfg: Config, size: int) -> flops.Cost:
  if cfg.options.cross == 'full':
    return flops.linear(size, size)
  rank = cfg.options.cross_rank
  expert = 2 * flops.linear(size, rank, bias=False) + flops.linear(rank, rank, bias=False)
  experts = cfg.options.cross_experts
  return experts * expert + flops.linear(size, experts) + flops.Cost(params=size, flops=0)


ARCHITECTURE = Architecture(DCNV2, cost, Options, merge=functools.partial(folded.serve, DCNV2))
