"""iHAS, searching (arXiv 2309.07967): an MLP behind a gate for each entry of its input.

With x the normalized embeddings, N = F * D entries,

    p = sigmoid(BN(W x + b))                                  what an example would rather read
    s = 1[sigmoid((logit p + logit u) / t) > 1/2], u ~ U(0, 1), with the gradient of the sigmoid
    loss = log loss of MLP(s x) + gate_sparse mean(p) - gate_polar mean |p - mean(p)|

An evaluation has s = 1[p > 1/2]. `runs/cluster_search.py` makes clusters of what is left.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from rec_sparse import flops
from rec_sparse import noise
from rec_sparse.config import Config
from rec_sparse.config import setting
from rec_sparse.models import layers
from rec_sparse.models.architecture import Architecture
from rec_sparse.models.architecture import Inputs
from rec_sparse.models.architecture import Rows


@dataclasses.dataclass(frozen=True)
class Options:
  """Of the gates."""

  gate_sparse: float = setting(0.1, 'lam1: weight of the mean gate in the loss', least=0)
  gate_polar: float = setting(
    0.1, 'lam2: weight of the mean distance of gates from their mean, which is rewarded', least=0
  )
  gate_temperature: float = setting(1.0, 't: of the sigmoid behind a drawn gate', above=0)


class GatedMLP(nn.Module):
  """`depth` hidden layers of `width` ReLU units on what the gates of an example let through.

  Sown into `intermediates`: `gates`, p_NxB, and `masked`, what the MLP reads, masked_NxB.
  """

  config: Config
  inputs: Inputs

  @nn.compact
  def __call__(self, rows: Rows, weight_B: jax.Array | None = None, *, train: bool) -> jax.Array:
    cfg = self.config
    x_NxB = layers.Input(cfg, name='input')(rows['embedding'], weight_B, train=train)
    gate = layers.Linear(self.inputs.size, 'batch', name='gate')
    score_NxB = gate(x_NxB, weight_B, train=train).astype(jnp.float32)
    masked_NxB = x_NxB * self._selected(score_NxB, train=train).astype(x_NxB.dtype)
    self._sow_losses(nn.sigmoid(score_NxB), weight_B)
    self.sow('intermediates', 'gates', nn.sigmoid(score_NxB))
    self.sow('intermediates', 'masked', masked_NxB)

    hidden_HxB = layers.hidden(cfg, masked_NxB, weight_B, train=train)
    return layers.Head(cfg.head_hidden, self.inputs.tasks, name='head')(hidden_HxB)

  def _selected(self, score_NxB: jax.Array, *, train: bool) -> jax.Array:
    """s_NxB of logit p = score_NxB."""
    if not train:
      return (score_NxB > 0).astype(jnp.float32)
    key = self.make_rng('dropout')
    drawn_NxB = noise.for_examples(
      lambda shape: jax.random.logistic(key, shape), score_NxB.shape, self.config.batch_size
    )
    soft_NxB = nn.sigmoid((score_NxB + drawn_NxB) / self.config.options.gate_temperature)
    hard_NxB = (soft_NxB > 0.5).astype(jnp.float32)
    return soft_NxB + jax.lax.stop_gradient(hard_NxB - soft_NxB)

  def _sow_losses(self, p_NxB: jax.Array, weight_B: jax.Array | None) -> None:
    """Means over entries and over the examples whose weight is above 0."""
    options = self.config.options
    real = True if weight_B is None else weight_B[None] > 0
    mean = jnp.mean(p_NxB, where=real)
    self.sow('losses', 'gate_sparse', options.gate_sparse * mean)
    spread = jnp.mean(jnp.abs(p_NxB - mean), where=real)
    self.sow('losses', 'gate_polar', -options.gate_polar * spread)


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """The MLP, its head, and the gates, a dense layer of N x N with a batch normalization."""
  gates = flops.linear(inputs.size, inputs.size) + flops.norm(inputs.size)
  return gates + layers.mlp_cost(inputs.size, cfg, inputs.tasks)


ARCHITECTURE = Architecture(
  GatedMLP, cost, Options, terms=lambda config: ('gate_sparse', 'gate_polar')
)
