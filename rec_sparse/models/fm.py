"""Factorization machine (Rendle, ICDM 2010): first-order weights and inner products of all pairs.

Equation 1: `logit = b + sum_f w_f + sum_{f<g} <e_f, e_g>`, in the time of lemma 3.1. With
`kept_pairs`, weighted products of these pairs alone (models/kept_pairs.py).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rec_sparse import flops
from rec_sparse.config import Config
from rec_sparse.models import kept_pairs
from rec_sparse.models import layers
from rec_sparse.models import parts
from rec_sparse.models.architecture import Architecture
from rec_sparse.models.architecture import Inputs
from rec_sparse.models.architecture import Rows


class FM(nn.Module):
  """Tasks share the inner products; each has first-order weights and a bias of its own.

  Rows are read as they are, without the input block: fields of deviation 1 would start with logits
  far from 0. `embedding_dropout` drops dimensions of embeddings.
  """

  config: Config
  inputs: Inputs

  @nn.compact
  def __call__(self, rows: Rows, weight_B: jax.Array | None = None, *, train: bool) -> jax.Array:
    del weight_B
    cfg = self.config
    drop = layers.Dropout(cfg.embedding_dropout, cfg.batch_size, name='dropout')
    kept_FxDxB = drop(jnp.transpose(rows['embedding'], (1, 2, 0)), train=train)
    bias_T = self.param('bias', nn.initializers.zeros, (self.inputs.tasks,))
    first_BxT = jnp.sum(rows['linear'], 1) + bias_T[None]
    pairs_B = interactions(self, jnp.transpose(kept_FxDxB, (2, 0, 1)))
    return first_BxT + pairs_B[:, None]


def interactions(module: nn.Module, rows_BxFxD: jax.Array) -> jax.Array:
  """What a model adds up of pairs of fields, as its `kept_pairs` says."""
  if not module.config.options.kept_pairs:
    return pairs(rows_BxFxD)
  fields_2xP = module.get_variable('constants', 'pairs')
  return kept_pairs.KeptPairs(name='kept_pairs', parent=module)(rows_BxFxD, fields_2xP)


def pairs(rows_BxFxD: jax.Array) -> jax.Array:
  """pairs_B = sum_{f<g} <e_f, e_g>: half of (the square of the sum - the sum of squares)."""
  square_of_sum_BxD = jnp.square(jnp.sum(rows_BxFxD, 1))
  sum_of_squares_BxD = jnp.sum(jnp.square(rows_BxFxD), 1)
  return 0.5 * jnp.sum(square_of_sum_BxD - sum_of_squares_BxD, 1)


def pairs_cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """Two sums over fields, and the squares; of kept pairs, one product each."""
  if cfg.options.kept_pairs:
    return kept_pairs.cost(cfg, inputs)
  return flops.Cost(params=0, flops=3 * inputs.size)


def columns(cfg: Config, inputs: Inputs) -> dict[str, int]:
  """An embedding of each value, and its first-order weights, one a task."""
  return {'embedding': cfg.embedding_dim, 'linear': inputs.tasks}


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """Biases; first-order sums, and inner products."""
  biases = flops.Cost(params=inputs.tasks, flops=0)
  return parts.first_order_cost(inputs) + biases + pairs_cost(cfg, inputs)


ARCHITECTURE = Architecture(
  FM,
  cost,
  kept_pairs.Options,
  constants=kept_pairs.constants,
  columns=columns,
  knobs=(),
  check=parts.check_reads_rows_alone,
)
