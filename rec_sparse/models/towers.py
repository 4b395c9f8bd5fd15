"""What `reaction` is made of: towers of dense layers, and layers that are sums of branches."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rec_sparse.config import Config
from rec_sparse.models import layers


class Tower(NamedTuple):
  """What a tower, or one branch of all layers, gives."""

  features: list[jax.Array]  # HxB of each layer
  logits_BxT: jax.Array | None = None  # None: of a branch


class MLP(nn.Module):
  """A tower in a scope of its own."""

  config: Config
  tasks: int

  @nn.compact
  def __call__(self, x_NxB: jax.Array, weight_B: jax.Array | None, train: bool) -> Tower:
    return tower(self.config, self.tasks, x_NxB, weight_B, train)


def tower(
  cfg: Config, tasks: int, x_NxB: jax.Array, weight_B: jax.Array | None, train: bool
) -> Tower:
  """Layers and head of a dense MLP, as modules of the caller."""
  features = layers.activations(cfg, x_NxB, weight_B, train=train)
  return Tower(features, layers.Head(cfg.head_hidden, tasks, name='head')(features[-1]))


class Branched(nn.Module):
  """A layer before its ReLU: mean_k BN_k(x W_k) + x U V with biases, and each BN_k(x W_k)."""

  config: Config

  @nn.compact
  def __call__(
    self, x_NxB: jax.Array, weight_B: jax.Array | None, train: bool
  ) -> tuple[jax.Array, list[jax.Array]]:
    cfg = self.config
    branches = [
      layers.Linear(cfg.width, cfg.hidden_norm, name=f'branch_{k}')(x_NxB, weight_B, train=train)
      for k in range(cfg.options.towers)
    ]
    y_HxB = jnp.mean(jnp.stack(branches), 0)
    if cfg.options.branch_rank:
      low_KxB = layers.Linear(cfg.options.branch_rank, name='down')(x_NxB)
      y_HxB += layers.Linear(cfg.width, name='up')(low_KxB)
    return y_HxB, branches
