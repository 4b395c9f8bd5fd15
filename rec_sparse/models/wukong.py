"""Wukong (arXiv 2403.02545): stacked factorization machines; layer i covers orders up to 2^i.

Section 3, with X_i of J rows of length D and n rows each from both blocks:

    FM(X)   = X (X^T Y), Y of J x k          (instead of X X^T, which is of J x J)
    FMB(X)  = reshape_{n x D}(MLP(LN(flatten(FM(X)))))
    LCB(X)  = W X, W of n x J
    X_{i+1} = LN(concat(FMB(X_i), LCB(X_i)) + X_i)

where X_i is linearly compressed if its rows are not 2n, and an MLP on flatten(X_L). Public ports
put a ReLU on what FMB gives; the paper does not.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from rec_sparse import flops
from rec_sparse.config import Config
from rec_sparse.config import setting
from rec_sparse.models import layers
from rec_sparse.models import norms
from rec_sparse.models import parts
from rec_sparse.models.architecture import Architecture
from rec_sparse.models.architecture import Inputs
from rec_sparse.models.architecture import Rows
from rec_sparse.models.marks import marked


@dataclasses.dataclass(frozen=True)
class Options:
  """Beyond `depth` layers, each of which gives `width` rows from either block."""

  fm_rank: int = setting(8, 'k: columns of Y in the optimized factorization machine', least=1)
  fm_hidden: tuple[int, ...] = setting(
    (32, 32), 'hidden ReLU layers of the MLP on each factorization machine', least=1
  )
  top_widths: tuple[int, ...] = setting(
    (32, 32), 'ReLU layers on what the last layer gives; hidden_norm is theirs', least=1
  )


class Layer(nn.Module):
  """x_JxDxB -> x_HxDxB, H = 2 `width`."""

  config: Config

  @nn.compact
  def __call__(self, x_JxDxB: jax.Array, *, train: bool) -> jax.Array:
    features = 2 * self.config.width
    linear_HxDxB = parts.Across(self.config.width, bias=False, name='lcb')(x_JxDxB)
    both_HxDxB = jnp.concatenate([self._machine(x_JxDxB, train), linear_HxDxB])
    if len(x_JxDxB) != features:
      x_JxDxB = parts.Across(features, name='residual')(x_JxDxB)
    return norms.LayerNorm(per_view=False, name='norm')(both_HxDxB + x_JxDxB)

  def _machine(self, x_JxDxB: jax.Array, train: bool) -> jax.Array:
    """FMB: `width` rows."""
    cfg = self.config
    rows, dim, batch = x_JxDxB.shape
    init = marked(nn.initializers.glorot_uniform(), decays=True)
    kernel_JxK = self.param('fm', init, (rows, cfg.options.fm_rank)).astype(x_JxDxB.dtype)
    inner_DxKxB = jnp.einsum('jdb,jk->dkb', x_JxDxB, kernel_JxK)
    product_JxKxB = jnp.einsum('jdb,dkb->jkb', x_JxDxB, inner_DxKxB)
    normal_NxB = norms.LayerNorm(name='fm_norm')(product_JxKxB.reshape(-1, batch))

    plain = dataclasses.replace(cfg, hidden_norm='none')
    mlp = parts.Hidden(plain, cfg.options.fm_hidden, name='fm_hidden')
    hidden_HxB = mlp(normal_NxB, train=train)
    return layers.Linear(cfg.width * dim, name='fm_out')(hidden_HxB).reshape(-1, dim, batch)


class Wukong(nn.Module):
  """`depth` layers, and an MLP."""

  config: Config
  inputs: Inputs

  @nn.compact
  def __call__(self, rows: Rows, weight_B: jax.Array | None = None, *, train: bool) -> jax.Array:
    cfg = self.config
    x_NxB = layers.Input(cfg, name='input')(rows['embedding'], weight_B, train=train)
    x_JxDxB = x_NxB.reshape(self.inputs.fields, self.inputs.dim, -1)
    for i in range(cfg.depth):
      x_JxDxB = Layer(cfg, name=f'layer_{i}')(x_JxDxB, train=train)
    top = parts.Hidden(cfg, cfg.options.top_widths, name='top')
    hidden_HxB = top(x_JxDxB.reshape(-1, x_JxDxB.shape[-1]), weight_B, train=train)
    return layers.Head(cfg.head_hidden, self.inputs.tasks, name='head')(hidden_HxB)


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """Its layers, the MLP on top, and the head."""
  parts_of_all = []
  rows = inputs.fields
  for _ in range(cfg.depth):
    parts_of_all.append(_layer_cost(cfg, rows, inputs.dim))
    rows = 2 * cfg.width
  size = rows * inputs.dim
  top = layers.mlp_cost(size, cfg, inputs.tasks, cfg.options.top_widths)
  return flops.total(parts_of_all) + top


def _layer_cost(cfg: Config, rows: int, dim: int) -> flops.Cost:
  options = cfg.options
  size = rows * options.fm_rank
  plain = dataclasses.replace(cfg, hidden_norm='none')
  machine = (
    flops.Cost(size, 4 * size * dim)
    + flops.norm(size)
    + layers.hidden_cost(size, plain, options.fm_hidden)
    + flops.linear(layers.hidden_size(size, cfg, options.fm_hidden), cfg.width * dim)
  )
  linear = parts.shared_cost(dim, rows, cfg.width, bias=False) + flops.norm(dim)
  if rows == 2 * cfg.width:
    return machine + linear
  return machine + linear + parts.shared_cost(dim, rows, 2 * cfg.width)


ARCHITECTURE = Architecture(Wukong, cost, Options)
