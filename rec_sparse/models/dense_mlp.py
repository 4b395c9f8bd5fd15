"""Dense MLP: the arm that is said to saturate (`a_i = Drop(ReLU(W_i a_{i-1} + b_i))`)."""

import functools

import flax.linen as nn
import jax

from rec_sparse import flops
from rec_sparse.config import Config
from rec_sparse.models import folded
from rec_sparse.models import layers
from rec_sparse.models.architecture import Architecture
from rec_sparse.models.architecture import Inputs
from rec_sparse.models.architecture import Rows


class DenseMLP(nn.Module):
  """`depth` hidden layers of `width` ReLU units.

  With depth 0 and embedding_dim 1, a logistic regression.
  """

  config: Config
  inputs: Inputs

  @nn.compact
  def __call__(self, rows: Rows, weight_B: jax.Array | None = None, *, train: bool) -> jax.Array:
    cfg = self.config
    x_NxB = layers.Input(cfg, name='input')(rows['embedding'], weight_B, train=train)
    hidden_HxB = layers.hidden(cfg, x_NxB, weight_B, train=train)
    return layers.Head(cfg.head_hidden, self.inputs.tasks, name='head')(hidden_HxB)


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """Parameters and forward FLOPs per example of the backbone and head."""
  return layers.mlp_cost(inputs.size, cfg, inputs.tasks)


ARCHITECTURE = Architecture(DenseMLP, cost, merge=functools.partial(folded.serve, DenseMLP))
