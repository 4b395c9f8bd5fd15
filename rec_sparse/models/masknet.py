"""MaskNet (arXiv 2102.07619): layers on inputs times masks that the embeddings decide.

Equations 6 to 11, V the flattened embeddings and LN_EMB a normalization of each field by itself:

    mask   = W2 ReLU(W1 V + b1) + b2
    block  = ReLU(LN(W (mask (.) x) + b))        x = LN_EMB(V), or the block before it

`blocks=parallel`: all blocks read LN_EMB(V), and are put side by side. `serial`: one reads another.
"""

import dataclasses
from typing import Literal

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
  """Beyond `depth` blocks that give `width` units each."""

  blocks: Literal['parallel', 'serial'] = setting('parallel', 'side by side, or one on another')
  reduction_ratio: float = setting(
    2.0, 'hidden units of what makes a mask / size of the mask', above=0
  )
  top_widths: tuple[int, ...] = setting(
    (32, 32), 'ReLU layers on what the last layer gives; hidden_norm is theirs', least=1
  )


class MaskBlock(nn.Module):
  """(x_NxB, v_NxB of the embeddings) -> units_HxB."""

  features: int  # H
  hidden: int  # units of what makes the mask

  @nn.compact
  def __call__(self, x_NxB: jax.Array, embedding_NxB: jax.Array) -> jax.Array:
    hidden_HxB = nn.relu(layers.Linear(self.hidden, name='aggregate')(embedding_NxB))
    mask_NxB = layers.Linear(len(x_NxB), name='mask')(hidden_HxB)
    return nn.relu(layers.Linear(self.features, 'layer', name='out')(mask_NxB * x_NxB))


class MaskNet(nn.Module):
  """`depth` blocks, and an MLP on what they give."""

  config: Config
  inputs: Inputs

  @nn.compact
  def __call__(self, rows: Rows, weight_B: jax.Array | None = None, *, train: bool) -> jax.Array:
    cfg = self.config
    x_NxB = layers.Input(cfg, name='input')(rows['embedding'], weight_B, train=train)
    x_FxDxB = x_NxB.reshape(self.inputs.fields, self.inputs.dim, -1)
    normal_NxB = norms.LayerNorm(name='embedding_norm')(x_FxDxB).reshape(x_NxB.shape)

    outputs = [normal_NxB]
    for i, size in enumerate(_sizes(cfg, self.inputs)):
      below_NxB = normal_NxB if cfg.options.blocks == 'parallel' else outputs[-1]
      units_HxB = MaskBlock(cfg.width, _hidden(cfg, size), name=f'block_{i}')(below_NxB, x_NxB)
      drop = layers.Dropout(cfg.dropout, cfg.batch_size, name=f'dropout_{i}')
      outputs.append(drop(units_HxB, train=train))

    is_parallel = cfg.options.blocks == 'parallel'
    out_HxB = jnp.concatenate(outputs[1:]) if is_parallel else outputs[-1]
    top = parts.Hidden(cfg, cfg.options.top_widths, name='top')
    hidden_HxB = top(out_HxB, weight_B, train=train)
    return layers.Head(cfg.head_hidden, self.inputs.tasks, name='head')(hidden_HxB)


def _sizes(cfg: Config, inputs: Inputs) -> list[int]:
  """Of the input, and so of the mask, of each block."""
  if cfg.options.blocks == 'parallel':
    return [inputs.size] * cfg.depth
  return [inputs.size] + [cfg.width] * (cfg.depth - 1)


def _hidden(cfg: Config, size: int) -> int:
  """Hidden units of what makes a mask of that size."""
  return max(1, round(cfg.options.reduction_ratio * size))


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """Blocks with their masks, the MLP on top, and the head."""
  blocks = flops.norm(inputs.size)
  for size in _sizes(cfg, inputs):
    hidden = _hidden(cfg, size)
    blocks += flops.linear(inputs.size, hidden) + flops.linear(hidden, size)
    blocks += flops.linear(size, cfg.width) + flops.norm(cfg.width)
  size = cfg.width * (cfg.depth if cfg.options.blocks == 'parallel' else 1)
  return blocks + layers.mlp_cost(size, cfg, inputs.tasks, cfg.options.top_widths)


def check(cfg: Config) -> None:
  """Raises ValueError when there is no block, or no layer to normalize as `hidden_norm` says."""
  if cfg.depth < 1:
    raise ValueError(f'depth={cfg.depth}: expected at least 1')
  if not cfg.options.top_widths:
    parts.check_has_no_hidden(cfg)


ARCHITECTURE = Architecture(MaskNet, cost, Options, check=check)
