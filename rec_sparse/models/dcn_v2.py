"""DCN-V2 with full matrices (arXiv 2008.13535): `x_{l+1} = x_0 (.) (W_l x_l + b_l) + x_l`, beside
or below an MLP.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rec_sparse import config as config_lib
from rec_sparse import flops
from rec_sparse.models import layers


class DCNV2(nn.Module):
  """`cross_layers` cross layers and `depth` hidden layers of `width` ReLU units.

  parallel: logits = w^T [x_L ; MLP(x_0)] + b. stacked: logits = w^T MLP(x_L) + b. Dropout acts in
  the MLP alone.
  """

  config: config_lib.Config
  tasks: int  # T

  @nn.compact
  def __call__(
    self, rows_BxFxD: jax.Array, weight_B: jax.Array | None = None, *, train: bool
  ) -> jax.Array:
    cfg = self.config
    x0_NxB = layers.Input(cfg, name='input')(rows_BxFxD, weight_B, train=train)
    x_NxB = x0_NxB
    for i in range(cfg.options.cross_layers):
      x_NxB = x0_NxB * layers.Linear(x0_NxB.shape[0], name=f'cross_{i}')(x_NxB) + x_NxB
    hidden_HxB = x0_NxB if cfg.options.structure == 'parallel' else x_NxB
    for i in range(cfg.depth):
      hidden_HxB = nn.relu(layers.Linear(cfg.width, name=f'layer_{i}')(hidden_HxB))
      drop = layers.Dropout(cfg.dropout, cfg.batch_size, name=f'dropout_{i}')
      hidden_HxB = drop(hidden_HxB, train=train)
    if cfg.options.structure == 'parallel':
      hidden_HxB = jnp.concatenate([x_NxB, hidden_HxB])
    return layers.Head(cfg.head_hidden, self.tasks, name='head')(hidden_HxB)


def cost(cfg: config_lib.Config, inputs: int, tasks: int) -> flops.Cost:
  """Parameters and forward FLOPs per example of the backbone and head."""
  widths = (inputs, *(cfg.width,) * cfg.depth)
  cross = cfg.options.cross_layers * flops.linear(inputs, inputs)
  hidden = flops.total(flops.linear(n, h) for n, h in zip(widths, widths[1:]))
  joined = widths[-1] + inputs * (cfg.options.structure == 'parallel')
  return cross + hidden + layers.head_cost(joined, cfg.head_hidden, tasks)
