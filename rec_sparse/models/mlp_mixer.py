"""MLP-Mixer (arXiv 2105.01601) over fields: its equation 1, X of F fields and D channels.

    U = X + W2 GELU(W1 LN(X))          across fields, the same for every channel
    Y = U + (GELU(LN(U) W3)) W4        across channels, the same for every field

and a head on the mean field of LN(Y). SSR's motivation (arXiv 2604.08011, equations 1 and 2) reads
it as a wide MLP of F D units whose matrices `I (x) W` and `V^T (x) I` have a share 1/D or 1/F of
non-zeros (Hayase and Karakida 2024).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rec_sparse import flops
from rec_sparse.config import Config
from rec_sparse.models import layers
from rec_sparse.models import norms
from rec_sparse.models import parts
from rec_sparse.models.architecture import Architecture
from rec_sparse.models.architecture import Inputs
from rec_sparse.models.architecture import Rows


class MLPMixer(nn.Module):
  """`depth` blocks, both of whose MLPs have `width` hidden units."""

  config: Config
  inputs: Inputs

  @nn.compact
  def __call__(self, rows: Rows, weight_B: jax.Array | None = None, *, train: bool) -> jax.Array:
    cfg = self.config
    x_NxB = layers.Input(cfg, name='input')(rows['embedding'], weight_B, train=train)
    x_FxDxB = x_NxB.reshape(self.inputs.fields, self.inputs.dim, -1)
    for i in range(cfg.depth):
      x_FxDxB = x_FxDxB + self._mixed(parts.Across, f'fields_{i}', x_FxDxB, train)
      x_FxDxB = x_FxDxB + self._mixed(parts.Within, f'channels_{i}', x_FxDxB, train)
    mean_DxB = jnp.mean(_norm('norm')(x_FxDxB), 0, dtype=jnp.float32)
    return layers.Head(cfg.head_hidden, self.inputs.tasks, name='head')(mean_DxB)

  def _mixed(self, kind: type[nn.Module], name: str, x_FxDxB: jax.Array, train: bool) -> jax.Array:
    """A normalized input through two layers of one kind, back to its own size."""
    cfg = self.config
    outputs = x_FxDxB.shape[0 if kind is parts.Across else 1]
    up = kind(cfg.width, name=f'{name}_up')
    hidden = nn.gelu(up(_norm(f'{name}_norm')(x_FxDxB)))
    drop = layers.Dropout(cfg.dropout, cfg.batch_size, name=f'{name}_dropout')
    return kind(outputs, name=f'{name}_down')(drop(hidden, train=train))


def _norm(name: str) -> norms.LayerNorm:
  """Over the channels of a field, with a gain and a bias for each channel."""
  return norms.LayerNorm(per_view=False, name=name)


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """Both MLPs of each block, normalizations and head."""
  fields = inputs.fields
  dim = inputs.dim
  across = parts.shared_cost(dim, fields, cfg.width) + parts.shared_cost(dim, cfg.width, fields)
  within = parts.shared_cost(fields, dim, cfg.width) + parts.shared_cost(fields, cfg.width, dim)
  blocks = cfg.depth * (across + within + 2 * flops.norm(dim))
  return blocks + flops.norm(dim) + layers.head_cost(dim, cfg.head_hidden, inputs.tasks)


ARCHITECTURE = Architecture(MLPMixer, cost, check=parts.check_has_no_hidden)
