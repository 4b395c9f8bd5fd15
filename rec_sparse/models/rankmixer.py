"""RankMixer (arXiv 2507.15551): tokens of fields, mixed without parameters, each with its own FFN.

    x_t = Proj_t(e of the fields of token t) of `width` D,  t = 1..T
    S   = LN(TokenMixing(X) + X),   X' = LN(PFFN(S) + S),   logit = head(mean_t X_L[t])

TokenMixing splits every token into T parts and gives new token h the h-th part of each, so D is a
multiple of T. PFFN_t(s) = W2_t GELU(W1_t s + b1_t) + b2_t has weights of its own for each token.

With `token_experts` E the FFN of a token is a sparse mixture: E blocks of hidden units, each times
G_j = ReLU(router_j(s)), and `router_l1` times the mean sum of G is added to the loss. The paper has
two routers, one for dense training and one for inference; here is the one that is served.

Tokens are groups of whole, neighbouring fields; the public code cuts through embeddings.
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


@dataclasses.dataclass(frozen=True)
class Options:
  """Beyond `width` D of a token and `depth` blocks."""

  tokens: int = setting(4, 'T: tokens; a divisor of the width', least=1)
  expansion: int = setting(1, 'k: hidden units of a token or expert / width', least=1)
  token_experts: int = setting(0, 'E: experts of each token; 0: a dense layer', least=0)
  router_l1: float = setting(
    0.0, 'coefficient of the mean sum of what the routers give, in the loss', least=0
  )


class PerTokenFFN(nn.Module):
  """x_VxDxB -> the same shape; GELU's hidden units times what the router gives their expert."""

  config: Config

  @nn.compact
  def __call__(self, x_VxDxB: jax.Array, weight_B: jax.Array | None, *, train: bool) -> jax.Array:
    options = self.config.options
    tokens, dim, batch = x_VxDxB.shape
    experts = options.token_experts
    units = max(experts, 1) * options.expansion * dim
    hidden_VxHxB = nn.gelu(parts.LinearPerView(units, name='up')(x_VxDxB))
    if experts:
      gate_VxJxB = nn.relu(parts.LinearPerView(experts, name='router')(x_VxDxB))
      if train:
        real_B = jnp.ones(batch, bool) if weight_B is None else weight_B > 0
        total_B = jnp.sum(gate_VxJxB.astype(jnp.float32), (0, 1))
        self.sow('losses', 'router_l1', options.router_l1 * jnp.mean(total_B, where=real_B))
      blocks_VxJxKxB = hidden_VxHxB.reshape(tokens, experts, -1, batch) * gate_VxJxB[:, :, None]
      hidden_VxHxB = blocks_VxJxKxB.reshape(tokens, units, batch)
    return parts.LinearPerView(dim, name='down')(hidden_VxHxB)


class RankMixer(nn.Module):
  """Projection to tokens, `depth` blocks, and a head on the mean token."""

  config: Config
  inputs: Inputs

  @nn.compact
  def __call__(self, rows: Rows, weight_B: jax.Array | None = None, *, train: bool) -> jax.Array:
    cfg = self.config
    x_NxB = layers.Input(cfg, name='input')(rows['embedding'], weight_B, train=train)
    tokens = []
    for t, fields in enumerate(groups(self.inputs.fields, cfg.options.tokens)):
      part_NxB = x_NxB[fields.start * self.inputs.dim : fields.stop * self.inputs.dim]
      tokens.append(layers.Linear(cfg.width, name=f'token_{t}')(part_NxB))

    x_VxDxB = jnp.stack(tokens)
    for i in range(cfg.depth):
      mixed_VxDxB = norms.LayerNorm(per_view=False, name=f'mix_norm_{i}')(mix(x_VxDxB) + x_VxDxB)
      own_VxDxB = PerTokenFFN(cfg, name=f'ffn_{i}')(mixed_VxDxB, weight_B, train=train)
      drop = layers.Dropout(cfg.dropout, cfg.batch_size, name=f'dropout_{i}')
      own_VxDxB = drop(own_VxDxB, train=train)
      x_VxDxB = norms.LayerNorm(per_view=False, name=f'ffn_norm_{i}')(own_VxDxB + mixed_VxDxB)
    mean_DxB = jnp.mean(x_VxDxB, 0, dtype=jnp.float32)
    return layers.Head(cfg.head_hidden, self.inputs.tasks, name='head')(mean_DxB)


def groups(fields: int, tokens: int) -> list[range]:
  """Which fields each token reads: about equally many; one, if there are fewer than tokens."""
  starts = [t * fields // tokens for t in range(tokens)]
  stops = [max((t + 1) * fields // tokens, starts[t] + 1) for t in range(tokens)]
  return [range(start, stop) for start, stop in zip(starts, stops, strict=True)]


def mix(x_VxDxB: jax.Array) -> jax.Array:
  """The h-th of V parts of each token, one after another, as token h."""
  tokens, dim, batch = x_VxDxB.shape
  parts_VxVxKxB = x_VxDxB.reshape(tokens, tokens, dim // tokens, batch)
  return parts_VxVxKxB.swapaxes(0, 1).reshape(tokens, dim, batch)


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """Projections, blocks and head; all experts are billed, as all are computed."""
  tokens = cfg.options.tokens
  experts = cfg.options.token_experts
  width = cfg.width
  units = max(experts, 1) * cfg.options.expansion * width
  ffn = parts.per_view_cost(tokens, width, units) + parts.per_view_cost(tokens, units, width)
  router = parts.per_view_cost(tokens, width, experts)
  block = ffn + router + 2 * flops.norm(width)
  fields = [len(group) for group in groups(inputs.fields, tokens)]
  projection = flops.total(flops.linear(count * inputs.dim, width) for count in fields)
  return projection + cfg.depth * block + layers.head_cost(width, cfg.head_hidden, inputs.tasks)


def check(cfg: Config) -> None:
  """Raises ValueError when tokens have no T equal parts, or there is no router to keep small."""
  parts.check_has_no_hidden(cfg)
  if cfg.width % cfg.options.tokens:
    raise ValueError(f'tokens={cfg.options.tokens}: expected a divisor of width={cfg.width}')
  if cfg.options.router_l1 and not cfg.options.token_experts:
    raise ValueError(f'router_l1={cfg.options.router_l1}: expected 0 without token_experts')


ARCHITECTURE = Architecture(RankMixer, cost, Options, check=check)
