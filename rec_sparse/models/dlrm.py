"""DLRM (arXiv 1906.00091): an MLP on the inner products of all pairs of fields.

    z = [x_0 ; <e_f, e_g> for f < g],   logit = MLP(z)

The paper has the output of a bottom MLP on numeric features beside the products. Here a numeric
field is a value times an embedding, which takes part in the products, and the embeddings themselves
stand beside them (`beside_products=false`: the products alone).
"""

import dataclasses
import functools

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
  """Beyond `width` and `depth` of the MLP."""

  beside_products: bool = setting(True, 'the embeddings beside the inner products')


class DLRM(nn.Module):
  """`depth` hidden layers of `width` ReLU units on inner products."""

  config: Config
  inputs: Inputs

  @nn.compact
  def __call__(self, rows: Rows, weight_B: jax.Array | None = None, *, train: bool) -> jax.Array:
    cfg = self.config
    x_NxB = layers.Input(cfg, name='input')(rows['embedding'], weight_B, train=train)
    below = [products(x_NxB.reshape(self.inputs.fields, self.inputs.dim, -1))]
    if cfg.options.beside_products:
      below.insert(0, x_NxB)
    hidden_HxB = layers.hidden(cfg, jnp.concatenate(below), weight_B, train=train)
    return layers.Head(cfg.head_hidden, self.inputs.tasks, name='head')(hidden_HxB)


def products(x_FxDxB: jax.Array) -> jax.Array:
  """<e_f, e_g> of all f < g: (F (F - 1) / 2, B). By slices: a gather's gradient is a scatter."""
  fields = len(x_FxDxB)
  rows = [jnp.sum(x_FxDxB[f][None] * x_FxDxB[f + 1 :], 1) for f in range(fields - 1)]
  return jnp.concatenate(rows)


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """Inner products, the MLP on them, and the head."""
  pairs = inputs.fields * (inputs.fields - 1) // 2
  size = pairs + (inputs.size if cfg.options.beside_products else 0)
  below = flops.Cost(params=0, flops=2 * inputs.dim * pairs)
  return below + layers.mlp_cost(size, cfg, inputs.tasks)


ARCHITECTURE = Architecture(DLRM, cost, Options, merge=functools.partial(folded.serve, DLRM))
