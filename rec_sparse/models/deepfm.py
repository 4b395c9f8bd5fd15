"""DeepFM (arXiv 1703.04247): a factorization machine beside an MLP on the same embeddings.

Equations 1 to 4: `logit = sum_f w_f + sum_{f<g} <e_f, e_g> + MLP(x_0)`; with `kept_pairs`, the
products of these pairs alone, each with a weight (models/kept_pairs.py).
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from rec_sparse import flops
from rec_sparse.config import Config
from rec_sparse.models import fm
from rec_sparse.models import folded
from rec_sparse.models import kept_pairs
from rec_sparse.models import layers
from rec_sparse.models import parts
from rec_sparse.models.architecture import Architecture
from rec_sparse.models.architecture import Inputs
from rec_sparse.models.architecture import Rows


class DeepFM(nn.Module):
  """`depth` hidden layers of `width` ReLU units beside a factorization machine.

  The machine reads rows as they are (see models/fm.py), the MLP reads them through the input block,
  whose dropout is the MLP's alone. Its head has the only bias.
  """

  config: Config
  inputs: Inputs

  @nn.compact
  def __call__(self, rows: Rows, weight_B: jax.Array | None = None, *, train: bool) -> jax.Array:
    cfg = self.config
    first_BxT = jnp.sum(rows['linear'], 1)
    pairs_B = fm.interactions(self, rows['embedding'])

    x_NxB = layers.Input(cfg, name='input')(rows['embedding'], weight_B, train=train)
    hidden_HxB = layers.hidden(cfg, x_NxB, weight_B, train=train)
    deep_BxT = layers.Head(cfg.head_hidden, self.inputs.tasks, name='head')(hidden_HxB)
    return deep_BxT + first_BxT + pairs_B[:, None]


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """The MLP, its head, and the machine; first-order weights lie in the table."""
  machine = parts.first_order_cost(inputs) + fm.pairs_cost(cfg, inputs)
  return machine + layers.mlp_cost(inputs.size, cfg, inputs.tasks)


ARCHITECTURE = Architecture(
  DeepFM,
  cost,
  kept_pairs.Options,
  constants=kept_pairs.constants,
  columns=fm.columns,
  merge=functools.partial(folded.serve, DeepFM),
)
