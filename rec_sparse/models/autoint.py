"""AutoInt (arXiv 1810.11921): self-attention among fields, and AutoInt+ with an MLP beside it.

Equations 5 to 8, for every head h and field f:

    a^h_fg = softmax_g(<Q^h e_f, K^h e_g>),   e'_f = ReLU(concat_h sum_g a^h_fg V^h e_g + W_res e_f)

Scores are not scaled, nothing is normalized, and W_res is there in every layer, as in the paper.
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
  """Beyond `depth` layers of `width`, which is what a field has after each: all heads together."""

  attention_heads: int = setting(2, 'heads of each layer, which share its width', least=1)
  beside: tuple[int, ...] = setting(
    (), 'ReLU layers of an MLP beside the attention (AutoInt+); empty: none', least=1
  )


class Attention(nn.Module):
  """One layer: e_FxDxB -> e'_FxHxB. Field f keeps its place, so permuted fields stay permuted."""

  features: int  # H, of all heads together
  heads: int  # V: head v has the v-th part of the features

  @nn.compact
  def __call__(self, e_FxDxB: jax.Array) -> jax.Array:
    fields, _, batch = e_FxDxB.shape

    def project(name: str) -> jax.Array:
      projected_FxHxB = parts.Within(self.features, bias=False, name=name)(e_FxDxB)
      return projected_FxHxB.reshape(fields, self.heads, -1, batch)

    query_FxVxKxB = project('query')
    key_FxVxKxB = project('key')
    value_FxVxKxB = project('value')
    score_VxFxFxB = jnp.einsum('fvkb,gvkb->vfgb', query_FxVxKxB, key_FxVxKxB)
    weight_VxFxFxB = nn.softmax(score_VxFxFxB, 2)
    mixed_FxVxKxB = jnp.einsum('vfgb,gvkb->fvkb', weight_VxFxFxB, value_FxVxKxB)
    return nn.relu(mixed_FxVxKxB + project('residual')).reshape(fields, self.features, batch)


class AutoInt(nn.Module):
  """logits = w^T flatten(E_L) + b, and AutoInt+: w^T [flatten(E_L) ; MLP(x_0)] + b."""

  config: Config
  inputs: Inputs

  @nn.compact
  def __call__(self, rows: Rows, weight_B: jax.Array | None = None, *, train: bool) -> jax.Array:
    cfg = self.config
    options = cfg.options
    x_NxB = layers.Input(cfg, name='input')(rows['embedding'], weight_B, train=train)

    e_FxHxB = x_NxB.reshape(self.inputs.fields, self.inputs.dim, -1)
    for i in range(cfg.depth):
      e_FxHxB = Attention(cfg.width, options.attention_heads, name=f'attention_{i}')(e_FxHxB)
      drop = layers.Dropout(cfg.dropout, cfg.batch_size, name=f'attention_dropout_{i}')
      e_FxHxB = drop(e_FxHxB, train=train)

    out_HxB = e_FxHxB.reshape(-1, e_FxHxB.shape[-1])
    if options.beside:
      deep_HxB = parts.Hidden(cfg, options.beside, name='beside')(x_NxB, weight_B, train=train)
      out_HxB = jnp.concatenate([out_HxB, deep_HxB])
    return layers.Head(cfg.head_hidden, self.inputs.tasks, name='head')(out_HxB)


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """Four kernels and two products of F^2 a layer; the MLP, and the head on both."""
  fields = inputs.fields
  attention = flops.Cost(0, 0)
  dim = inputs.dim
  for _ in range(cfg.depth):
    attention += 4 * parts.shared_cost(fields, dim, cfg.width, bias=False)
    attention += flops.Cost(params=0, flops=4 * fields**2 * cfg.width)
    dim = cfg.width
  beside = cfg.options.beside
  deep = layers.hidden_cost(inputs.size, cfg, beside)
  size = fields * dim + (beside[-1] if beside else 0)
  return attention + deep + layers.head_cost(size, cfg.head_hidden, inputs.tasks)


def check(cfg: Config) -> None:
  """Raises ValueError when heads do not divide the width, or there are no layers to normalize."""
  if cfg.width % cfg.options.attention_heads:
    raise ValueError(
      f'attention_heads={cfg.options.attention_heads}: expected a divisor of width={cfg.width}'
    )
  if not cfg.options.beside:
    parts.check_has_no_hidden(cfg)


ARCHITECTURE = Architecture(AutoInt, cost, Options, check=check)
