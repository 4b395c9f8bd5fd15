"""What one tower of REACTION (AAAI 2026) learns from another: its three fusion losses.

That there is a spatial loss with a margin, a relational and a contrastive one, and between what,
is the paper's, as a summary tells it. The formulas are our reading, after the alignment losses of
arXiv 2501.01423 and InfoNCE. All are float32 means over the examples that weigh, and move `own`
alone: the gradient stops at `other`.

A feature map is J positions of K channels: each hidden layer of a tower, cut into groups of
channels.
"""

from collections.abc import Sequence
import dataclasses
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from rec_sparse.config import setting

EPSILON = 1e-6  # of a squared norm: a ReLU may leave an example nothing but zeros
NAMES = ('spatial', 'relational', 'contrastive')


@dataclasses.dataclass(frozen=True)
class Options:
  """Coefficients and margins."""

  spatial: float = setting(0.1, 'alpha: coefficient of the spatial loss', least=0)
  relational: float = setting(0.1, 'beta: coefficient of the relational loss', least=0)
  contrastive: float = setting(0.01, 'gamma: coefficient of the contrastive loss', least=0)
  spatial_margin: float = setting(
    0.2, 'm1: what cosines may lack of 1 without a loss', least=0, most=1
  )
  relational_margin: float = setting(
    0.1, 'm2: what cosines may differ by without a loss', least=0, most=2
  )
  temperature: float = setting(0.2, 't: of the contrastive loss', above=0)
  contrasted: int = setting(
    1024, 'first examples of a batch that the contrastive loss compares, each with each', least=2
  )
  groups: int = setting(4, 'groups of channels of a layer, each a position of a map', least=1)


def names(options: Options) -> tuple[str, ...]:
  """The losses that are on."""
  return tuple(name for name in NAMES if getattr(options, name))


def terms(
  options: Options, towers: Sequence[Sequence[jax.Array]], weight_B: jax.Array
) -> dict[str, jax.Array]:
  """Each loss that is on, times its coefficient: sum_k mean_{j != k} loss(k, j).

  `towers` are HxB of each layer of each tower, all of one width.
  """
  of_maps = {'spatial', 'relational'} & set(names(options))
  maps = [positions(layers, options.groups) for layers in towers] if of_maps else []
  last = [unit(layers[-1][:, : options.contrasted]) for layers in towers]

  def loss(name: str, own: int, other: int) -> jax.Array:
    if name == 'spatial':
      return spatial(maps[own], maps[other], options.spatial_margin, weight_B)
    if name == 'relational':
      return relational(maps[own], maps[other], options.relational_margin, weight_B)
    few_B = weight_B[: options.contrasted]
    return contrastive(last[own], last[other], options.temperature, few_B)

  pairs = list(itertools.permutations(range(len(towers)), 2))
  found = {}
  for name in names(options):
    total = jnp.sum(jnp.stack([loss(name, *pair) for pair in pairs]))
    found[name] = getattr(options, name) / (len(towers) - 1) * total
  return found


def positions(layers: Sequence[jax.Array], groups: int) -> jax.Array:
  """unit_JxKxB of layers HxB: J = len(layers) * groups positions, each a unit vector."""
  maps = [layer_HxB.reshape(groups, -1, layer_HxB.shape[1]) for layer_HxB in layers]
  return unit(jnp.concatenate(maps))


def unit(x_XxB: jax.Array) -> jax.Array:
  """In float32, of length 1 along the axis before the last; zeros stay zeros."""
  x_XxB = x_XxB.astype(jnp.float32)
  squared_XxB = jnp.sum(jnp.square(x_XxB), -2, keepdims=True)
  return x_XxB * jax.lax.rsqrt(squared_XxB + EPSILON)


def spatial(
  own_JxKxB: jax.Array, other_JxKxB: jax.Array, margin: float, weight_B: jax.Array
) -> jax.Array:
  """mean_j relu(1 - margin - cos(own_j, other_j)): what agrees to the margin costs nothing."""
  cosine_JxB = jnp.sum(own_JxKxB * jax.lax.stop_gradient(other_JxKxB), 1)
  return _mean(jnp.mean(nn.relu(1 - margin - cosine_JxB), 0), weight_B)


def relational(
  own_JxKxB: jax.Array, other_JxKxB: jax.Array, margin: float, weight_B: jax.Array
) -> jax.Array:
  """mean_ij relu(|cos(own_i, own_j) - cos(other_i, other_j)| - margin): how alike a tower's own
  positions are.
  """
  gap_JxJxB = _cosines(own_JxKxB) - jax.lax.stop_gradient(_cosines(other_JxKxB))
  return _mean(jnp.mean(nn.relu(jnp.abs(gap_JxJxB) - margin), (0, 1)), weight_B)


def _cosines(unit_JxKxB: jax.Array) -> jax.Array:
  return jnp.einsum('ikb,jkb->ijb', unit_JxKxB, unit_JxKxB)


def contrastive(
  own_HxB: jax.Array, other_HxB: jax.Array, temperature: float, weight_B: jax.Array
) -> jax.Array:
  """InfoNCE (arXiv 1807.03748) of unit vectors: an example finds itself among those of the other.

  It costs their number squared. Where a user and an item stand there twice, one of them counts as
  another one, as is usual.
  """
  other_HxB = jax.lax.stop_gradient(other_HxB)
  alike_BxB = jnp.einsum('hb,hc->bc', own_HxB, other_HxB) / temperature
  among_B = jax.nn.logsumexp(alike_BxB, 1, where=weight_B[None] > 0)
  itself_B = jnp.sum(own_HxB * other_HxB, 0) / temperature  # a diagonal would scatter gradients
  return _mean(among_B - itself_B, weight_B)


def distillation(
  logits_BxT: jax.Array, others: Sequence[jax.Array], weight_B: jax.Array
) -> jax.Array:
  """Cross-entropy with the mean probability of other towers, summed over tasks.

  Soft targets (arXiv 1503.02531) of an ensemble that is trained beside its pupil (1806.04606).
  """
  probabilities = [jax.nn.sigmoid(other_BxT) for other_BxT in others]
  soft_BxT = jax.lax.stop_gradient(jnp.mean(jnp.stack(probabilities), 0))
  return _mean(jnp.sum(optax.sigmoid_binary_cross_entropy(logits_BxT, soft_BxT), 1), weight_B)


def _mean(loss_B: jax.Array, weight_B: jax.Array) -> jax.Array:
  return jnp.mean(loss_B, where=weight_B > 0)
