"""The controls of ICS: gates on the pre-activations of a view.

Each is a drop-in for ICS at equal parameters.

Every gate is `gate(z_VxKxB, params, options, key) -> h_VxKxB`: K dimensions compete in each of V
views, for each of B examples; `key` is None in evaluation. `GATES` maps a name to its gate. A gate
that does not use alpha leaves it without a gradient, so that all arms have the same parameters;
gamma scales the K outputs of every gate (SSR equation 14).
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rec_sparse import noise
from rec_sparse.sparsity import ics as ics_lib


class Params(NamedTuple):
  """What a gate learns."""

  alpha_VxI: jax.Array  # extinction rates of ICS; (V, K, I) where one per dimension is wanted
  gamma_VxK: jax.Array  # output scale


@dataclasses.dataclass(frozen=True)
class Options:
  """What a gate is told."""

  # top-k: share of the K dimensions kept; .5 is k = d_v at d_v* = 2 d_v
  kept: float = 0.5
  # dropout: share of the dimensions dropped in training
  dropout: float = 0.5
  # gumbel: of the relaxed Bernoulli, in units of z; towards 0 the gradient vanishes
  temperature: float = 1.0
  # sparsemax, entmax15: mean of the K outputs before gamma, in units of z; less is sparser
  mass: float = 0.25
  # dropout, gumbel: of a batch without what pads it; None: all of them
  examples: int | None = None


Gate = Callable[[jax.Array, Params, Options, jax.Array | None], jax.Array]


def ics(
  z_VxKxB: jax.Array, params: Params, options: Options, key: jax.Array | None = None
) -> jax.Array:
  """SSR equations 10 to 14: a soft threshold that follows the mean of what survives."""
  return ics_lib.ics(z_VxKxB, *params)


def one_iteration(
  z_VxKxB: jax.Array, params: Params, options: Options, key: jax.Array | None = None
) -> jax.Array:
  """ICS with one iteration (SSR table 5, T = 1): the first alpha alone."""
  return ics_lib.ics(z_VxKxB, params.alpha_VxI[..., :1], params.gamma_VxK)


def identity(
  z_VxKxB: jax.Array, params: Params, options: Options, key: jax.Array | None = None
) -> jax.Array:
  """No filter: the projection as it is (SSR table 4, without sparse filtering)."""
  return _scale(z_VxKxB.astype(jnp.float32), params, z_VxKxB.dtype)


def relu(
  z_VxKxB: jax.Array, params: Params, options: Options, key: jax.Array | None = None
) -> jax.Array:
  """ICS with alpha = 0: what ordinary ReLU sparsity does alone (SSR equation 10)."""
  return _scale(jax.nn.relu(z_VxKxB.astype(jnp.float32)), params, z_VxKxB.dtype)


def soft_threshold(
  z_VxKxB: jax.Array, params: Params, options: Options, key: jax.Array | None = None
) -> jax.Array:
  """A threshold that does not look at the data.

  It is ICS with mu_i of z ~ N(0, 1) in place of the mean of the example.

  tau_{i+1} = tau_i + alpha_i E[ReLU(z - tau_i)], E[ReLU(z - tau)] = phi(tau) - tau (1 - Phi(tau)).
  At the scale of the initialisation it starts where ICS starts; unlike ICS it does not follow the
  scale of z.
  """
  tau_Vx1x1 = normal_thresholds(params.alpha_VxI)[-1]
  return _scale(jax.nn.relu(z_VxKxB.astype(jnp.float32) - tau_Vx1x1), params, z_VxKxB.dtype)


def normal_thresholds(alpha_VxI: jax.Array) -> jax.Array:
  """tau_1 ... tau_I of `soft_threshold`: (I, V, 1, 1), or (I, V, K, 1) per dimension."""
  alpha_VxI = alpha_VxI.astype(jnp.float32)
  iterations = alpha_VxI.shape[-1]
  tau = jnp.zeros_like(alpha_VxI[..., 0])
  taus = []
  for i in range(iterations):
    mean_above = jax.scipy.stats.norm.pdf(tau) - tau * jax.scipy.stats.norm.sf(tau)
    tau = tau + alpha_VxI[..., i] * mean_above
    taus.append(tau)
  return jnp.stack(taus).reshape(iterations, len(alpha_VxI), -1, 1)


def top_k(
  z_VxKxB: jax.Array, params: Params, options: Options, key: jax.Array | None = None
) -> jax.Array:
  """The k largest of the K stay where they are, the others become 0.

  SSR table 4, "Top-k (STE)": straight-through. The derivative is that of the identity: dimensions
  that lost receive a gradient too (Bengio et al. 2013, 1308.3432).
  """
  z_f32 = z_VxKxB.astype(jnp.float32)
  hard_VxKxB = jnp.where(_largest(z_f32, _k(z_f32, options)), z_f32, 0.0)
  return _scale(_straight_through(hard_VxKxB, z_f32), params, z_VxKxB.dtype)


def top_k_values(
  z_VxKxB: jax.Array, params: Params, options: Options, key: jax.Array | None = None
) -> jax.Array:
  """The k largest values in falling order, positions discarded, then zeros.

  `block_t18a` of the official code. Slot r holds the r-th largest value whichever dimension had it;
  gamma belongs to ranks. Ordinary derivative.
  """
  sorted_VxKxB = -jnp.sort(-z_VxKxB.astype(jnp.float32), axis=-2)
  rank_Kx1 = jnp.arange(z_VxKxB.shape[-2])[:, None]
  kept_VxKxB = jnp.where(rank_Kx1[None] < _k(z_VxKxB, options), sorted_VxKxB, 0.0)
  return _scale(kept_VxKxB, params, z_VxKxB.dtype)


def dropout(
  z_VxKxB: jax.Array, params: Params, options: Options, key: jax.Array | None = None
) -> jax.Array:
  """Random sparsity in place of a filter (SSR table 4); the identity in evaluation."""
  if key is None:
    return identity(z_VxKxB, params, options)
  keep = 1.0 - options.dropout
  draw = functools.partial(jax.random.bernoulli, key, keep)
  stays_VxKxB = noise.for_examples(draw, z_VxKxB.shape, options.examples or z_VxKxB.shape[-1])
  kept_VxKxB = jnp.where(stays_VxKxB, z_VxKxB.astype(jnp.float32) / keep, 0.0)
  return _scale(kept_VxKxB, params, z_VxKxB.dtype)


def sigmoid(
  z_VxKxB: jax.Array, params: Params, options: Options, key: jax.Array | None = None
) -> jax.Array:
  """A dense gate.

  With the value gate of the code form, s = sigmoid(x W) (x W_val) is a GLU without ICS.
  """
  return _scale(jax.nn.sigmoid(z_VxKxB.astype(jnp.float32)), params, z_VxKxB.dtype)


def gumbel(
  z_VxKxB: jax.Array, params: Params, options: Options, key: jax.Array | None = None
) -> jax.Array:
  """z times a sampled bit, P(bit = 1) = sigmoid(z / temperature).

  The derivative goes straight through the binary concrete relaxation. Maddison et al. 2017
  (1611.00712), Jang et al. 2017 (1611.01144). In evaluation the likelier bit, which is ReLU.
  """
  if key is None:
    return relu(z_VxKxB, params, options)
  z_f32 = z_VxKxB.astype(jnp.float32)
  draw = functools.partial(jax.random.logistic, key)
  noise_VxKxB = noise.for_examples(draw, z_f32.shape, options.examples or z_f32.shape[-1])

  noisy_VxKxB = z_f32 / options.temperature + noise_VxKxB
  bit_VxKxB = _straight_through((noisy_VxKxB > 0).astype(jnp.float32), jax.nn.sigmoid(noisy_VxKxB))
  return _scale(z_f32 * bit_VxKxB, params, z_VxKxB.dtype)


def sparsemax(
  z_VxKxB: jax.Array, params: Params, options: Options, key: jax.Array | None = None
) -> jax.Array:
  """m sparsemax(z / m), m = `mass` K.

  This is the soft threshold ReLU(z - tau) whose tau leaves the sum m to every example.
  """
  m = options.mass * z_VxKxB.shape[-2]
  return _scale(m * sparsemax_p(z_VxKxB.astype(jnp.float32) / m), params, z_VxKxB.dtype)


def entmax15(
  z_VxKxB: jax.Array, params: Params, options: Options, key: jax.Array | None = None
) -> jax.Array:
  """m entmax_1.5(z / m), m = `mass` K: as `sparsemax`, with a smoother edge and fewer zeros."""
  m = options.mass * z_VxKxB.shape[-2]
  return _scale(m * entmax15_p(z_VxKxB.astype(jnp.float32) / m), params, z_VxKxB.dtype)


GATES: dict[str, Gate] = {
  'ics': ics,
  'one_iteration': one_iteration,
  'relu': relu,
  'soft_threshold': soft_threshold,
  'top_k': top_k,
  'top_k_values': top_k_values,
  'dropout': dropout,
  'sigmoid': sigmoid,
  'gumbel': gumbel,
  'sparsemax': sparsemax,
  'entmax15': entmax15,
  'identity': identity,
}


def flops(gate: str, dims: int, iterations: int) -> int:
  """What a gate costs per view and example in evaluation, beyond an activation, which is free.

  A round of competition subtracts, clips and sums K numbers. A sort compares K log2 K times; the
  gates on the simplex then look for their threshold among K candidates: of sparsemax by a sum, a
  product and a comparison each, of entmax by two sums and the root of a quadratic.
  """
  sort = dims * (dims - 1).bit_length()
  return {
    'ics': 3 * iterations * dims,
    'one_iteration': 3 * dims,
    'top_k': sort + 4 * dims,  # above or tied, and a running count of the tied
    'top_k_values': sort,
    'sparsemax': sort + 3 * dims,
    'entmax15': sort + 10 * dims,
  }.get(gate, 0)


def _scale(h_VxKxB: jax.Array, params: Params, dtype: jnp.dtype) -> jax.Array:
  """gamma of SSR equation 14, and the type of z."""
  return (params.gamma_VxK.astype(jnp.float32)[:, :, None] * h_VxKxB).astype(dtype)


def _k(z_VxKxB: jax.Array, options: Options) -> int:
  return max(round(options.kept * z_VxKxB.shape[-2]), 1)


def _largest(z_VxKxB: jax.Array, k: int) -> jax.Array:
  """Boolean mask of exactly k of the K dimensions.

  Of equal values at the edge the first ones stay.
  """
  edge_Vx1xB = -jnp.sort(-z_VxKxB, axis=-2)[:, k - 1 : k]
  above_VxKxB = z_VxKxB > edge_Vx1xB
  tied_VxKxB = z_VxKxB == edge_Vx1xB
  room_Vx1xB = k - jnp.sum(above_VxKxB, -2, keepdims=True, dtype=jnp.int32)
  is_first_VxKxB = jnp.cumsum(tied_VxKxB, -2, dtype=jnp.int32) <= room_Vx1xB
  return above_VxKxB | (tied_VxKxB & is_first_VxKxB)


def _straight_through(hard: jax.Array, soft: jax.Array) -> jax.Array:
  """Forward hard (exact zeros: soft + (0 - soft) = 0 in floating point), backward soft."""
  return soft + jax.lax.stop_gradient(hard - soft)


@jax.custom_vjp
def sparsemax_p(z_VxKxB: jax.Array) -> jax.Array:
  """Euclidean projection on the simplex over K.

  Martins and Astudillo 2016 (1602.02068), algorithm 1.
  """
  return _sparsemax_fwd(z_VxKxB)[0]


def _sparsemax_fwd(z_VxKxB: jax.Array) -> tuple[jax.Array, jax.Array]:
  # sums of raw values would lose the digits that decide tau
  z_VxKxB = z_VxKxB - jnp.max(z_VxKxB, -2, keepdims=True)
  top_VxKxB = -jnp.sort(-z_VxKxB, axis=-2)
  rank_1xKx1 = jnp.arange(1, z_VxKxB.shape[-2] + 1, dtype=jnp.float32)[None, :, None]
  excess_VxKxB = jnp.cumsum(top_VxKxB, -2) - 1.0
  inside_VxKxB = rank_1xKx1 * top_VxKxB > excess_VxKxB
  support_Vx1xB = jnp.sum(inside_VxKxB, -2, keepdims=True, dtype=jnp.int32)
  tau_Vx1xB = jnp.take_along_axis(excess_VxKxB / rank_1xKx1, support_Vx1xB - 1, -2)
  p_VxKxB = jax.nn.relu(z_VxKxB - tau_Vx1xB)
  return p_VxKxB, p_VxKxB


def _sparsemax_bwd(p_VxKxB: jax.Array, bar_VxKxB: jax.Array) -> tuple[jax.Array]:
  """On the support, minus the support's mean (ibid., proposition 2)."""
  return (_centred(bar_VxKxB, (p_VxKxB > 0).astype(jnp.float32)),)


@jax.custom_vjp
def entmax15_p(z_VxKxB: jax.Array) -> jax.Array:
  """1.5-entmax over K: p = ReLU(z / 2 - tau)^2 with sum 1.

  Peters et al. 2019 (1905.05702), algorithm 2.
  """
  return _entmax15_fwd(z_VxKxB)[0]


def _entmax15_fwd(z_VxKxB: jax.Array) -> tuple[jax.Array, jax.Array]:
  half_VxKxB = (z_VxKxB - jnp.max(z_VxKxB, -2, keepdims=True)) / 2
  top_VxKxB = -jnp.sort(-half_VxKxB, axis=-2)
  rank_1xKx1 = jnp.arange(1, z_VxKxB.shape[-2] + 1, dtype=jnp.float32)[None, :, None]
  mean_VxKxB = jnp.cumsum(top_VxKxB, -2) / rank_1xKx1
  spread_VxKxB = jnp.cumsum(top_VxKxB**2, -2) - rank_1xKx1 * mean_VxKxB**2
  tau_VxKxB = mean_VxKxB - jnp.sqrt(jax.nn.relu(1.0 - spread_VxKxB) / rank_1xKx1)
  support_Vx1xB = jnp.sum(tau_VxKxB <= top_VxKxB, -2, keepdims=True, dtype=jnp.int32)
  root_VxKxB = jax.nn.relu(half_VxKxB - jnp.take_along_axis(tau_VxKxB, support_Vx1xB - 1, -2))
  return root_VxKxB**2, root_VxKxB


def _entmax15_bwd(root_VxKxB: jax.Array, bar_VxKxB: jax.Array) -> tuple[jax.Array]:
  """Weights sqrt(p), minus their weighted mean (ibid., proposition 2 at alpha = 1.5)."""
  return (_centred(bar_VxKxB, root_VxKxB),)


def _centred(bar_VxKxB: jax.Array, weight_VxKxB: jax.Array) -> jax.Array:
  """w (bar - weighted mean of bar): the Jacobian diag(w) - w w^T / sum w, applied."""
  total_Vx1xB = jnp.sum(weight_VxKxB, -2, keepdims=True)
  mean_Vx1xB = jnp.sum(weight_VxKxB * bar_VxKxB, -2, keepdims=True) / total_Vx1xB
  return weight_VxKxB * (bar_VxKxB - mean_Vx1xB)


sparsemax_p.defvjp(_sparsemax_fwd, _sparsemax_bwd)
entmax15_p.defvjp(_entmax15_fwd, _entmax15_bwd)
