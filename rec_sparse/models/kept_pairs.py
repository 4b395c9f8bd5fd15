"""Inner products of chosen pairs of fields, each with a weight: what AutoFIS retrains.

AutoFIS (arXiv 2003.11235), section 3.2: pairs that its search (search/pair_gates.py) leaves out are
not computed, and the gates of the others start anew as ordinary weights. Pairs are numbered (0, 1),
(0, 2) .. (0, F - 1), (1, 2) and so on.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rec_sparse import flops
from rec_sparse.config import Config
from rec_sparse.config import setting
from rec_sparse.models.architecture import Inputs


@dataclasses.dataclass(frozen=True)
class Options:
  """Of a model with a factorization machine."""

  kept_pairs: tuple[int, ...] = setting(
    (),
    'numbers of the pairs of fields whose products are taken, each with a weight, as '
    'launch.select --by=autofis prints them; empty: all, without weights',
    least=0,
  )


class KeptPairs(nn.Module):
  """rows_BxFxD -> sum_p w_p <e_f, e_g> of P pairs (f, g), from w_p = 1 on."""

  @nn.compact
  def __call__(self, rows_BxFxD: jax.Array, fields_2xP: jax.Array) -> jax.Array:
    weight_P = self.param('weight', nn.initializers.ones, (fields_2xP.shape[1],))
    product_BxP = jnp.sum(rows_BxFxD[:, fields_2xP[0]] * rows_BxFxD[:, fields_2xP[1]], -1)
    return jnp.einsum('bp,p->b', product_BxP, weight_P)


def constants(cfg: Config, inputs: Inputs, seed: int) -> dict[str, np.ndarray]:
  """`pairs`: fields_2xP of the kept pairs; {} where all are.

  Raises ValueError when one of them is not a pair of the data, or is named twice.
  """
  del seed
  kept = cfg.options.kept_pairs
  if not kept:
    return {}
  every_2xP = np.stack(np.triu_indices(inputs.fields, 1)).astype(np.int32)
  shown = ','.join(map(str, kept))
  if len(set(kept)) < len(kept):
    raise ValueError(f'kept_pairs={shown}: expected each pair once')
  if max(kept) >= every_2xP.shape[1]:
    raise ValueError(
      f'kept_pairs={shown}: the data have {inputs.fields} fields, so {every_2xP.shape[1]} pairs'
    )
  return {'pairs': every_2xP[:, list(kept)]}


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """A product of two embeddings and a weight for each pair."""
  pairs = len(cfg.options.kept_pairs)
  return flops.Cost(params=pairs, flops=pairs * (2 * inputs.dim + 1))
