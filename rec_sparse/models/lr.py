"""Logistic regression (WWW 2007, https://dl.acm.org/citation.cfm?id=1242643): a weight per value.

`logit = sum_f w_f + b`, where w_f is the weight of the value of field f.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rec_sparse import flops
from rec_sparse.config import Config
from rec_sparse.models import layers
from rec_sparse.models import parts
from rec_sparse.models.architecture import Architecture
from rec_sparse.models.architecture import Inputs
from rec_sparse.models.architecture import Rows


class LR(nn.Module):
  """A row of the table is a value's weights, one a task; `embedding_dim` is not read.

  Rows are read as they are, without the input block: `embedding_dropout` drops whole fields.
  """

  config: Config
  inputs: Inputs

  @nn.compact
  def __call__(self, rows: Rows, weight_B: jax.Array | None = None, *, train: bool) -> jax.Array:
    del weight_B
    cfg = self.config
    drop = layers.Dropout(cfg.embedding_dropout, cfg.batch_size, name='dropout')
    first_TxFxB = drop(jnp.transpose(rows['embedding'], (2, 1, 0)), train=train)
    bias_T = self.param('bias', nn.initializers.zeros, (self.inputs.tasks,))
    return (jnp.sum(first_TxFxB, 1) + bias_T[:, None]).T


def columns(cfg: Config, inputs: Inputs) -> dict[str, int]:
  """A weight for each task."""
  del cfg
  return {'embedding': inputs.tasks}


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """Its biases, and its additions, which are all it has."""
  del cfg
  return parts.first_order_cost(inputs) + flops.Cost(params=inputs.tasks, flops=0)


ARCHITECTURE = Architecture(LR, cost, columns=columns, knobs=(), check=parts.check_reads_rows_alone)
