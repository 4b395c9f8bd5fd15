"""AFN and AFN+ (AAAI 2020, arXiv 1909.03276): interactions of learned orders, by logarithms.

Equations 5 to 8, elementwise over the D dimensions, j = 1..m:

    y_j = BN(exp(sum_f W_fj BN(ln max(|e_f|, eps)))),   logit = MLP([y_1 .. y_m])

Both normalizations have a statistic for each field, and for each neuron, pooled over D; a public
port has one for each dimension. AFN+ has a second embedding of every value, and an MLP on these
beside the first.
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

SMALLEST = 1e-5  # eps: of an embedding's absolute value before its logarithm


@dataclasses.dataclass(frozen=True)
class Options:
  """Beyond `width` and `depth` of the MLP on the logarithmic neurons."""

  log_neurons: int = setting(64, 'm: interactions of learned orders', least=1)
  plus: tuple[int, ...] = setting(
    (), 'ReLU layers of an MLP on second embeddings (AFN+); empty: none', least=1
  )


class AFN(nn.Module):
  """Logarithms read rows as they are; the MLP of AFN+ reads its own through the input block."""

  config: Config
  inputs: Inputs

  @nn.compact
  def __call__(self, rows: Rows, weight_B: jax.Array | None = None, *, train: bool) -> jax.Array:
    cfg = self.config
    neurons = Logarithmic(cfg.options.log_neurons, name='logarithmic')
    y_NxB = neurons(rows['embedding'], weight_B, train=train).astype(cfg.compute_dtype)
    hidden_HxB = parts.Hidden(cfg, name='hidden')(y_NxB, weight_B, train=train)
    if cfg.options.plus:
      x_NxB = layers.Input(cfg, name='input')(rows['second'], weight_B, train=train)
      deep_HxB = parts.Hidden(cfg, cfg.options.plus, name='plus')(x_NxB, weight_B, train=train)
      hidden_HxB = jnp.concatenate([hidden_HxB, deep_HxB])
    return layers.Head(cfg.head_hidden, self.inputs.tasks, name='head')(hidden_HxB)


class Logarithmic(nn.Module):
  """rows_BxFxD -> y_NxB, N = H D: H products of powers of the fields, normalized."""

  features: int  # H

  @nn.compact
  def __call__(
    self, rows_BxFxD: jax.Array, weight_B: jax.Array | None, *, train: bool
  ) -> jax.Array:
    batch, fields, _ = rows_BxFxD.shape
    weight_B = jnp.ones(batch) if weight_B is None else weight_B
    logs_BxFxD = jnp.log(jnp.maximum(jnp.abs(rows_BxFxD), SMALLEST))
    normal_BxFxD = norms.FieldNorm(name='log_norm')(logs_BxFxD, weight_B, train=train)
    init = marked(nn.initializers.glorot_uniform(), decays=True)
    kernel_FxH = self.param('kernel', init, (fields, self.features))
    y_BxHxD = jnp.exp(jnp.einsum('bfd,fh->bhd', normal_BxFxD, kernel_FxH))
    y_BxHxD = norms.FieldNorm(name='exp_norm')(y_BxHxD, weight_B, train=train)
    return layers.transposed(y_BxHxD.reshape(batch, -1))


def columns(cfg: Config, inputs: Inputs) -> dict[str, int]:
  """An embedding of each value; two in AFN+."""
  del inputs
  second = {'second': cfg.embedding_dim} if cfg.options.plus else {}
  return {'embedding': cfg.embedding_dim} | second


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """Logarithmic neurons with both normalizations, the MLPs, and the head on both."""
  neurons = cfg.options.log_neurons
  logarithmic = parts.shared_cost(inputs.dim, inputs.fields, neurons, bias=False)
  normal = flops.norm(inputs.fields) + flops.norm(neurons)
  deep = layers.hidden_cost(neurons * inputs.dim, cfg)
  last = layers.hidden_size(neurons * inputs.dim, cfg)
  plus = cfg.options.plus
  if plus:
    deep += layers.hidden_cost(inputs.size, cfg, plus)
    last += plus[-1]
  return logarithmic + normal + deep + layers.head_cost(last, cfg.head_hidden, inputs.tasks)


ARCHITECTURE = Architecture(AFN, cost, Options, columns=columns)
