"""Dense MLP: the arm that is said to saturate (`a_i = Drop(ReLU(W_i a_{i-1} + b_i))`)."""

import flax.linen as nn
import jax

from rec_sparse import config as config_lib
from rec_sparse import flops
from rec_sparse.models import layers


class DenseMLP(nn.Module):
  """`depth` hidden layers of `width` ReLU units; with depth 0 and embedding_dim 1, a logistic
  regression.
  """

  config: config_lib.Config
  tasks: int  # T

  @nn.compact
  def __call__(
    self, rows_BxFxD: jax.Array, weight_B: jax.Array | None = None, *, train: bool
  ) -> jax.Array:
    cfg = self.config
    x_NxB = layers.Input(cfg, name='input')(rows_BxFxD, weight_B, train=train)
    for i in range(cfg.depth):
      x_NxB = nn.relu(layers.Linear(cfg.width, name=f'layer_{i}')(x_NxB))
      x_NxB = layers.Dropout(cfg.dropout, cfg.batch_size, name=f'dropout_{i}')(x_NxB, train=train)
    return layers.Head(cfg.head_hidden, self.tasks, name='head')(x_NxB)


def cost(cfg: config_lib.Config, inputs: int, tasks: int) -> flops.Cost:
  """Parameters and forward FLOPs per example of the backbone and head."""
  widths = (inputs, *(cfg.width,) * cfg.depth)
  hidden = flops.total(flops.linear(n, h) for n, h in zip(widths, widths[1:]))
  return hidden + layers.head_cost(widths[-1], cfg.head_hidden, tasks)
