"""MMoE (KDD 2018, doi 10.1145/3219819.3220007): experts on one input, a gate and a tower per task.

Equations 6 and 7: `g_k = softmax(W_gk x_0)`, `logit_k = tower_k(sum_e g_ke MLP_e(x_0))`. One expert
is a shared bottom.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from rec_sparse import flops
from rec_sparse.config import Config
from rec_sparse.config import setting
from rec_sparse.models import layers
from rec_sparse.models import parts
from rec_sparse.models.architecture import Architecture
from rec_sparse.models.architecture import Inputs
from rec_sparse.models.architecture import Rows


@dataclasses.dataclass(frozen=True)
class Options:
  """Beyond `depth` layers of `width` in every expert; `head_hidden` are those of every tower."""

  experts: int = setting(4, 'E: MLPs on the same input, all computed', least=1)


class MMoE(nn.Module):
  """Gates are linear, without bias, as in the paper (FuxiCTR has MLPs)."""

  config: Config
  inputs: Inputs

  @nn.compact
  def __call__(self, rows: Rows, weight_B: jax.Array | None = None, *, train: bool) -> jax.Array:
    cfg = self.config
    x_NxB = layers.Input(cfg, name='input')(rows['embedding'], weight_B, train=train)
    experts = []
    for e in range(cfg.options.experts):
      experts.append(parts.Hidden(cfg, name=f'expert_{e}')(x_NxB, weight_B, train=train))
    hidden_VxHxB = jnp.stack(experts)

    logits = []
    for k in range(self.inputs.tasks):
      gate = layers.Linear(len(experts), bias=False, name=f'gate_{k}')
      gate_VxB = nn.softmax(gate(x_NxB), 0)
      mixed_HxB = jnp.einsum('vhb,vb->hb', hidden_VxHxB, gate_VxB)
      logits.append(layers.Head(cfg.head_hidden, 1, name=f'head_{k}')(mixed_HxB))
    return jnp.concatenate(logits, 1)


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """All experts; a gate, a mean and a tower for each task."""
  experts = cfg.options.experts
  last = layers.hidden_size(inputs.size, cfg)
  gate = flops.linear(inputs.size, experts, bias=False)
  mean = flops.Cost(params=0, flops=2 * experts * last)
  task = gate + mean + layers.head_cost(last, cfg.head_hidden, 1)
  return experts * layers.hidden_cost(inputs.size, cfg) + inputs.tasks * task


ARCHITECTURE = Architecture(MMoE, cost, Options)
