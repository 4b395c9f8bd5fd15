"""DCN-V2 with full matrices (arXiv 2008.13535).

`x_{l+1} = x_0 (.) (W_l x_l + b_l) + x_l`, beside or below an MLP.
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


@dataclasses.dataclass(frozen=True)
class Options:
  """Beyond width and depth of the hidden layers."""

  structure: Literal['parallel', 'stacked'] = setting(
    'parallel', 'hidden layers beside the cross network, or on top of it'
  )
  cross_layers: int = setting(3, 'L: full cross layers', least=1)


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
      x_NxB = x0_NxB * layers.Linear(x0_NxB.shape[0], name=f'cross_{i}')(x_NxB) + x_NxB

    below_NxB = x0_NxB if is_parallel else x_NxB
    hidden_HxB = layers.hidden(cfg, below_NxB, weight_B, train=train)
    if is_parallel:
      hidden_HxB = jnp.concatenate([x_NxB, hidden_HxB])
    return layers.Head(cfg.head_hidden, self.inputs.tasks, name='head')(hidden_HxB)


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """Parameters and forward FLOPs per example of the backbone and head."""
  cross = cfg.options.cross_layers * flops.linear(inputs.size, inputs.size)
  last = cfg.width if cfg.depth else inputs.size
  if cfg.options.structure == 'parallel':
    last += inputs.size
  backbone = cross + layers.hidden_cost(inputs.size, cfg)
  return backbone + layers.head_cost(last, cfg.head_hidden, inputs.tasks)


ARCHITECTURE = Architecture(DCNV2, cost, Options, merge=functools.partial(folded.serve, DCNV2))
