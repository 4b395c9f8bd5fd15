"""FinalMLP (arXiv 2304.00902): two MLPs on the same input, fused by a product of theirs; DualMLP.

Equation 10, with o_1 and o_2 the last hidden layers, in k heads:

    logit = sum_j o_1j^T W_j o_2j + w_1^T o_1 + w_2^T o_2 + b

`fusion=sum` leaves the product out: DualMLP, the sum of two MLPs. Gates (equations 6 to 8) are
those of an empty context, where they depend on no example: h_i = 2 sigmoid(g_i) (.) x_0.
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
from rec_sparse.models import parts
from rec_sparse.models.architecture import Architecture
from rec_sparse.models.architecture import Inputs
from rec_sparse.models.architecture import Rows
from rec_sparse.models.marks import marked


@dataclasses.dataclass(frozen=True)
class Options:
  """Beyond `width` and `depth`, which are those of the first MLP."""

  second_widths: tuple[int, ...] = setting(
    (), 'layers of the second MLP; empty: as those of the first', least=1
  )
  fusion: Literal['bilinear', 'sum'] = setting('bilinear', 'of both MLPs; sum: DualMLP')
  fusion_heads: int = setting(
    2, 'k: parts of the last hidden layers whose products are taken', least=1
  )
  gates: bool = setting(False, 'a learned factor of each input dimension, for each MLP')


class FinalMLP(nn.Module):
  """Two stacks of hidden layers, their product, and a head on both."""

  config: Config
  inputs: Inputs

  @nn.compact
  def __call__(self, rows: Rows, weight_B: jax.Array | None = None, *, train: bool) -> jax.Array:
    cfg = self.config
    x_NxB = layers.Input(cfg, name='input')(rows['embedding'], weight_B, train=train)
    outputs = []
    for name, widths in _streams(cfg).items():
      own_NxB = Gate(name=f'gate_{name}')(x_NxB) if cfg.options.gates else x_NxB
      stream = parts.Hidden(cfg, widths, name=name)
      outputs.append(stream(own_NxB, weight_B, train=train))

    head = layers.Head(cfg.head_hidden, self.inputs.tasks, name='head')
    logits_BxT = head(jnp.concatenate(outputs))
    if cfg.options.fusion == 'sum':
      return logits_BxT
    product = Product(self.inputs.tasks, cfg.options.fusion_heads, name='product')
    return logits_BxT + product(*outputs)


class Gate(nn.Module):
  """2 sigmoid(g) (.) x_NxB, from g = 0 on: one factor a dimension, for all examples."""

  @nn.compact
  def __call__(self, x_NxB: jax.Array) -> jax.Array:
    gate_N = self.param('gate', nn.initializers.zeros, (x_NxB.shape[0],))
    return x_NxB * (2 * nn.sigmoid(gate_N)).astype(x_NxB.dtype)[:, None]


class Product(nn.Module):
  """product_BxT = sum_j o_1j^T W_tj o_2j in float32, j over k parts of both."""

  tasks: int  # T
  heads: int  # k

  @nn.compact
  def __call__(self, first_NxB: jax.Array, second_HxB: jax.Array) -> jax.Array:
    batch = first_NxB.shape[-1]
    first_JxNxB = first_NxB.astype(jnp.float32).reshape(self.heads, -1, batch)
    second_JxHxB = second_HxB.astype(jnp.float32).reshape(self.heads, -1, batch)
    glorot = nn.initializers.glorot_uniform(in_axis=-2, out_axis=-1, batch_axis=(0, 1))
    shape = (self.tasks, self.heads, first_JxNxB.shape[1], second_JxHxB.shape[1])
    kernel_TxJxNxH = self.param('kernel', marked(glorot, decays=True), shape)
    product_TxJxHxB = jnp.einsum('jnb,tjnh->tjhb', first_JxNxB, kernel_TxJxNxH)
    return jnp.einsum('tjhb,jhb->bt', product_TxJxHxB, second_JxHxB)


def _streams(cfg: Config) -> dict[str, tuple[int, ...]]:
  """Widths of the layers of both MLPs."""
  first = (cfg.width,) * cfg.depth
  return {'first': first, 'second': cfg.options.second_widths or first}


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """Both MLPs, their gates, the head on both, and the product."""
  streams = _streams(cfg).values()
  deep = flops.total(layers.hidden_cost(inputs.size, cfg, widths) for widths in streams)
  gates = flops.Cost(2 * inputs.size, 2 * inputs.size) if cfg.options.gates else flops.Cost(0, 0)
  first, second = (layers.hidden_size(inputs.size, cfg, widths) for widths in streams)
  head = layers.head_cost(first + second, cfg.head_hidden, inputs.tasks)
  if cfg.options.fusion == 'sum':
    return deep + gates + head
  weights = inputs.tasks * first * second // cfg.options.fusion_heads
  return deep + gates + head + flops.Cost(weights, 2 * weights + 2 * inputs.tasks * second)


def check(cfg: Config) -> None:
  """Raises ValueError when the parts of the product do not divide both last layers."""
  heads = cfg.options.fusion_heads
  if cfg.depth < 1:
    raise ValueError(f'depth={cfg.depth}: expected at least 1')
  for widths in _streams(cfg).values():
    if cfg.options.fusion == 'bilinear' and widths[-1] % heads:
      raise ValueError(f'fusion_heads={heads}: expected a divisor of {widths[-1]}')


ARCHITECTURE = Architecture(FinalMLP, cost, Options, check=check)
