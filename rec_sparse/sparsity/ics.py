"""Iterative Competitive Sparse (ICS) filters as one data-dependent soft threshold (SSR, arXiv
2604.08011).

Successive ReLU(x - c) with c >= 0 compose, so for alpha >= 0 equations (10) to (14) only decide a
threshold:

    y = gamma * ReLU(z - tau_T),   tau_0 = 0,   tau_{t+1} = tau_t + alpha_t mu_t,   mu_t = mean_k
    ReLU(z_k - tau_t)

ICS(c z) = c ICS(z) for c > 0: the share that survives does not depend on the scale of z. The
derivative needs z and the T means mu_t alone (each tau_t follows from them); no iteration's
activations are kept.

For alpha < 0 the recursion of the paper lifts every dimension, dead ones too, and nothing is zero
afterwards; the closed form lowers the threshold instead and stays a soft threshold. The two are
equal for alpha >= 0 only: keep alpha positive (`positive`), or use `ics_iterated` where the literal
behaviour of a negative alpha is the question.
"""

from collections.abc import Sequence
import functools
import itertools

import jax
import jax.numpy as jnp


def ics(z: jax.Array, alpha: jax.Array, gamma: jax.Array, axis: int = -1) -> jax.Array:
  """ICS over the K dimensions on `axis`, in closed form; the type of z, thresholds in float32.

  gamma has shape (..., K) and alpha (..., T), or (..., K, T) for one alpha per dimension, where ...
  are the axes of z just before `axis`, or none of them. Batch-major rows: z_BxK, alpha_T, gamma_K,
  or z_BxVxK, alpha_VxT, gamma_VxK. Feature-major views: z_VxKxB, alpha_VxT, gamma_VxK, axis=-2.
  """
  axis = axis % z.ndim - z.ndim
  alphas, gamma = _aligned(z, alpha, gamma, axis)
  return _ics(z, alphas, gamma, axis)


def ics_iterated(z: jax.Array, alpha: jax.Array, gamma: jax.Array, axis: int = -1) -> jax.Array:
  """Equations (10) to (14) as the paper has them: the reference; shapes as in `ics`, any sign of
  alpha.
  """
  axis = axis % z.ndim - z.ndim
  alphas, gamma = _aligned(z, alpha, gamma, axis)
  x = jax.nn.relu(z.astype(jnp.float32))  # (10)
  for alpha_t in alphas:
    mu = jnp.mean(x, axis, keepdims=True)  # (11): over all K dimensions, zeros included
    x = jax.nn.relu(x - alpha_t * mu)  # (12)
  return (gamma * x).astype(z.dtype)  # (14)


def thresholds(z: jax.Array, alpha: jax.Array, gamma: jax.Array, axis: int = -1) -> jax.Array:
  """tau_1 ... tau_T for analysis: float32, T first, then z's shape with 1 on `axis` (K if alpha is
  per dimension).
  """
  axis = axis % z.ndim - z.ndim
  alphas, _ = _aligned(z, alpha, gamma, axis)
  return jnp.stack(_taus(alphas, _means(z.astype(jnp.float32), alphas, axis)))


def positive(raw: jax.Array) -> jax.Array:
  """Softplus: an alpha > 0 from a free parameter."""
  return jax.nn.softplus(raw)


def positive_inverse(alpha: jax.Array) -> jax.Array:
  """The free parameter that `positive` maps to alpha > 0, for initialisation."""
  return alpha + jnp.log(-jnp.expm1(-alpha))


def _aligned(
  z: jax.Array, alpha: jax.Array, gamma: jax.Array, axis: int
) -> tuple[tuple[jax.Array, ...], jax.Array]:
  """The T alphas and gamma in float32, each with the axes of z and 1 where it is shared."""
  dims, leading = z.shape[axis], z.shape[: z.ndim + axis]
  shared, per_dimension = (
    alpha.ndim == gamma.ndim,
    alpha.shape[-2:-1] == (dims,) and alpha.ndim == gamma.ndim + 1,
  )
  fits = (
    gamma.shape[-1:] == (dims,) and gamma.ndim <= len(leading) + 1 and (shared or per_dimension)
  )
  if not fits or not alpha.shape[-1]:
    raise ValueError(
      f'ICS over axis {axis} of z {z.shape}: gamma {gamma.shape} must be (..., {dims}) and alpha '
      f'{alpha.shape} (..., T) or (..., {dims}, T), T >= 1, where ... ends {leading} or is empty'
    )
  alpha = alpha[..., None, :] if shared else alpha

  def align(x: jax.Array) -> jax.Array:
    ones_before, ones_after = (1,) * (len(leading) + 1 - x.ndim), (1,) * (-1 - axis)
    return x.astype(jnp.float32).reshape(ones_before + x.shape + ones_after)

  return tuple(align(alpha[..., t]) for t in range(alpha.shape[-1])), align(gamma)


def _means(z: jax.Array, alphas: Sequence[jax.Array], axis: int) -> list[jax.Array]:
  """mu_0 ... mu_{T-1}: one number per example each, whatever the shape of alpha."""
  tau, mus = 0.0, []
  for alpha_t in alphas:
    mus.append(jnp.mean(jax.nn.relu(z - tau), axis, keepdims=True))
    tau = tau + alpha_t * mus[-1]
  return mus


def _taus(alphas: Sequence[jax.Array], mus: Sequence[jax.Array]) -> list[jax.Array]:
  """tau_1 ... tau_T; K dimensions only if alpha has them."""
  return list(itertools.accumulate(alpha_t * mu for alpha_t, mu in zip(alphas, mus, strict=True)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _ics(z: jax.Array, alphas: tuple[jax.Array, ...], gamma: jax.Array, axis: int) -> jax.Array:
  return _ics_fwd(z, alphas, gamma, axis)[0]


def _ics_fwd(z, alphas, gamma, axis):
  z_f32 = z.astype(jnp.float32)
  mus = _means(z_f32, alphas, axis)
  y = gamma * jax.nn.relu(z_f32 - _taus(alphas, mus)[-1])
  return y.astype(z.dtype), (z, alphas, gamma, mus)


def _ics_bwd(axis, kept, ybar):
  """The recursion in reverse: the derivative by tau walks from tau_T back to tau_0 = 0 (ssr.md,
  section 1.4).
  """
  z, alphas, gamma, mus = kept
  z_f32, ybar = z.astype(jnp.float32), ybar.astype(jnp.float32)
  *taus, last = 0.0, *_taus(alphas, mus)
  gamma_bar = _sum_to(jax.nn.relu(z_f32 - last) * ybar, gamma.shape)
  z_bar = jnp.where(z_f32 > last, gamma * ybar, 0.0)
  tau_bar, alpha_bars = -_sum_to(z_bar, last.shape), []
  for alpha_t, mu, tau in zip(alphas[::-1], mus[::-1], taus[::-1], strict=True):
    alpha_bars.append(_sum_to(tau_bar * mu, alpha_t.shape))
    mu_bar = jnp.sum(tau_bar * alpha_t, axis, keepdims=True) / z.shape[axis]
    # One select for both uses: XLA CPU fuses it away, but keeps T masks in memory if the two
    # differ.
    through_mu = jnp.where(z_f32 > tau, jnp.broadcast_to(mu_bar, z.shape), 0.0)
    z_bar = z_bar + through_mu
    tau_bar = tau_bar - _sum_to(through_mu, last.shape)
  return z_bar.astype(z.dtype), tuple(alpha_bars[::-1]), gamma_bar


_ics.defvjp(_ics_fwd, _ics_bwd)


def _sum_to(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Sums over the axes that have 1 in `shape`."""
  axes = tuple(i for i, size in enumerate(shape) if size == 1 and x.shape[i] != 1)
  return jnp.sum(x, axes, keepdims=True) if axes else x
