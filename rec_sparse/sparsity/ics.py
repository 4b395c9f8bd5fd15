"""Iterative Competitive Sparse (ICS) filters as one soft threshold (SSR, arXiv 2604.08011).

Successive ReLU(x - c) with c >= 0 compose. So for alpha >= 0 equations (10) to (14) only decide a
threshold, one for each view and example:

    y = gamma * ReLU(z - tau_I)
    tau_0 = 0,   tau_{i+1} = tau_i + alpha_i mu_i,   mu_i = mean_k ReLU(z_k - tau_i)

The paper calls the number of iterations T, this code I. ICS(c z) = c ICS(z) for c > 0: the share
that survives does not depend on the scale of z. The derivative needs z and the I means mu_i alone
(each tau_i follows from them); no iteration's activations are kept.

For alpha < 0 the recursion of the paper lifts every dimension, dead ones too, and nothing is zero
afterwards; the closed form lowers the threshold instead and stays a soft threshold. The two are
equal for alpha >= 0 only: keep alpha positive (`positive`), or use `ics_iterated` where the literal
behaviour of a negative alpha is the question.

Shapes: z_VxKxB holds K dimensions that compete in each of V views, for each of B examples.
alpha_VxI has one rate per iteration, or (V, K, I) one per dimension and iteration. gamma_VxK.
"""

from collections.abc import Sequence
import itertools

import jax
import jax.numpy as jnp

_K = -2  # the axis of z along which dimensions compete


def ics(z_VxKxB: jax.Array, alpha_VxI: jax.Array, gamma_VxK: jax.Array) -> jax.Array:
  """ICS in closed form: (V, K, B) in the type of z; thresholds are float32.

  Raises ValueError when the shapes do not fit, or alpha has no iteration.
  """
  alphas = _alphas(z_VxKxB, alpha_VxI, gamma_VxK)
  return _ics(z_VxKxB, alphas, _column(gamma_VxK))


def ics_iterated(z_VxKxB: jax.Array, alpha_VxI: jax.Array, gamma_VxK: jax.Array) -> jax.Array:
  """Equations (10) to (14) as the paper has them: the reference, for any sign of alpha."""
  alphas = _alphas(z_VxKxB, alpha_VxI, gamma_VxK)
  x_VxKxB = jax.nn.relu(z_VxKxB.astype(jnp.float32))  # (10)
  for alpha in alphas:
    mu_Vx1xB = jnp.mean(x_VxKxB, _K, keepdims=True)  # (11): over all K, zeros included
    x_VxKxB = jax.nn.relu(x_VxKxB - alpha * mu_Vx1xB)  # (12)
  return (_column(gamma_VxK) * x_VxKxB).astype(z_VxKxB.dtype)  # (14)


def thresholds(z_VxKxB: jax.Array, alpha_VxI: jax.Array, gamma_VxK: jax.Array) -> jax.Array:
  """tau_1 ... tau_I, for analysis: float32 (I, V, 1, B); (I, V, K, B) with alpha per dimension."""
  alphas = _alphas(z_VxKxB, alpha_VxI, gamma_VxK)
  mus = _means(z_VxKxB.astype(jnp.float32), alphas)
  return jnp.stack(_taus(alphas, mus))


def positive(raw: jax.Array) -> jax.Array:
  """Softplus: an alpha > 0 from a free parameter."""
  return jax.nn.softplus(raw)


def positive_inverse(alpha: jax.Array) -> jax.Array:
  """The free parameter that `positive` maps to alpha > 0, for initialisation."""
  return alpha + jnp.log(-jnp.expm1(-alpha))


def _alphas(
  z_VxKxB: jax.Array, alpha_VxI: jax.Array, gamma_VxK: jax.Array
) -> tuple[jax.Array, ...]:
  """The I rates in float32: (V, 1, 1), or (V, K, 1) with one per dimension."""
  z_shape = z_VxKxB.shape
  alpha_shape = alpha_VxI.shape
  views_and_dims = z_shape[:-1]
  fits = (
    len(z_shape) == 3
    and gamma_VxK.shape == views_and_dims
    and alpha_shape[:-1] in (views_and_dims[:1], views_and_dims)
    and alpha_shape[-1] > 0
  )
  if not fits:
    raise ValueError(
      f'ICS of z {z_shape}, expected (V, K, B): gamma {gamma_VxK.shape} must be (V, K) and alpha '
      f'{alpha_shape} (V, I) or (V, K, I), I >= 1'
    )

  alpha = alpha_VxI.astype(jnp.float32)
  if alpha.ndim == 2:
    alpha = alpha[:, None]
  return tuple(alpha[..., i, None] for i in range(alpha_shape[-1]))


def _column(gamma_VxK: jax.Array) -> jax.Array:
  return gamma_VxK.astype(jnp.float32)[..., None]


def _means(z_VxKxB: jax.Array, alphas: Sequence[jax.Array]) -> list[jax.Array]:
  """mu_0 ... mu_{I-1}: (V, 1, B) each, whatever the shape of alpha."""
  tau = 0.0
  mus = []
  for alpha in alphas:
    mu_Vx1xB = jnp.mean(jax.nn.relu(z_VxKxB - tau), _K, keepdims=True)
    mus.append(mu_Vx1xB)
    tau = tau + alpha * mu_Vx1xB
  return mus


def _taus(alphas: Sequence[jax.Array], mus: Sequence[jax.Array]) -> list[jax.Array]:
  """tau_1 ... tau_I: (V, 1, B) each, or (V, K, B) with alpha per dimension."""
  steps = [alpha * mu_Vx1xB for alpha, mu_Vx1xB in zip(alphas, mus, strict=True)]
  return list(itertools.accumulate(steps))


@jax.custom_vjp
def _ics(z_VxKxB: jax.Array, alphas: tuple[jax.Array, ...], gamma_VxKx1: jax.Array) -> jax.Array:
  return _ics_fwd(z_VxKxB, alphas, gamma_VxKx1)[0]


def _ics_fwd(z_VxKxB, alphas, gamma_VxKx1):
  z_f32 = z_VxKxB.astype(jnp.float32)
  mus = _means(z_f32, alphas)
  last = _taus(alphas, mus)[-1]
  y_VxKxB = gamma_VxKx1 * jax.nn.relu(z_f32 - last)
  return y_VxKxB.astype(z_VxKxB.dtype), (z_VxKxB, alphas, gamma_VxKx1, mus)


def _ics_bwd(kept, y_bar):
  """The recursion in reverse, from tau_I back to tau_0 = 0; a bar is a derivative of the loss.

      z_bar = [z > tau_I] gamma y_bar            tau_bar_I = -sum_k z_bar
      alpha_bar_i = tau_bar_{i+1} mu_i           mu_bar_i = alpha_i tau_bar_{i+1}  (*)
      z_bar += [z > tau_i] mu_bar_i / K          tau_bar_i = tau_bar_{i+1} - share_i mu_bar_i

  where share_i is the share of the K dimensions above tau_i: mu_i is a mean over all K. (*): summed
  over k where alpha has one per dimension.
  """
  z_VxKxB, alphas, gamma_VxKx1, mus = kept
  z_f32 = z_VxKxB.astype(jnp.float32)
  y_bar = y_bar.astype(jnp.float32)
  *taus, last = 0.0, *_taus(alphas, mus)

  gamma_bar = _sum_to(jax.nn.relu(z_f32 - last) * y_bar, gamma_VxKx1.shape)
  z_bar = jnp.where(z_f32 > last, gamma_VxKx1 * y_bar, 0.0)
  tau_bar = -_sum_to(z_bar, last.shape)

  alpha_bars = []
  for alpha, mu, tau in zip(alphas[::-1], mus[::-1], taus[::-1], strict=True):
    alpha_bars.append(_sum_to(tau_bar * mu, alpha.shape))
    mu_bar_over_K = jnp.sum(tau_bar * alpha, _K, keepdims=True) / z_f32.shape[_K]
    # One select for both uses: XLA CPU fuses it away, but keeps I masks in memory if the two
    # differ.
    through_mu = jnp.where(z_f32 > tau, jnp.broadcast_to(mu_bar_over_K, z_f32.shape), 0.0)
    z_bar = z_bar + through_mu
    tau_bar = tau_bar - _sum_to(through_mu, last.shape)
  return z_bar.astype(z_VxKxB.dtype), tuple(alpha_bars[::-1]), gamma_bar


_ics.defvjp(_ics_fwd, _ics_bwd)


def _sum_to(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Sums over the axes that have 1 in `shape`."""
  axes = tuple(i for i, size in enumerate(shape) if size == 1 and x.shape[i] != 1)
  return jnp.sum(x, axes, keepdims=True) if axes else x
