"""ICS (`ics.ics`, feature-major) as one Pallas kernel each way: z is read once, y or the derivative
written once.

One block holds all K dimensions of a view for a tile of columns (examples), so the T reductions of
the threshold stay on the chip. The backward kernel computes the thresholds again from z: nothing
but z is kept between the two.

Off by default, nothing calls it: it is tested in Pallas' interpreter and lowered for TPU and CUDA
without a device, but has not run on one. Measure it against `ics.ics` there before use. Its way to
a GPU is Pallas' Triton backend, which jax 0.11 deprecates in favour of kernels written for Mosaic
GPU.
"""

import functools

import jax
from jax.experimental import pallas as pl
import jax.numpy as jnp


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def ics_pallas(
  z_VxKxB: jax.Array,
  alpha_VxT: jax.Array,
  gamma_VxK: jax.Array,
  tile: int = 128,
  compiler_params: pl.CompilerParams | None = None,
  interpret: bool = False,
) -> jax.Array:
  """`ics.ics(z_VxKxB, alpha_VxT, gamma_VxK, axis=-2)`; alpha >= 0 and shared by a view's
  dimensions.

  `tile` is the columns of a block, a power of two: 128 suits a TPU, a GPU's registers hold about 32
  at K = 128. A GPU wants `compiler_params=jax.experimental.pallas.triton.CompilerParams()`;
  without, Pallas takes its deprecated path.
  """
  call = _call(_forward, z_VxKxB, alpha_VxT, tile, compiler_params, interpret, outputs=1)
  return call(z_VxKxB, alpha_VxT[:, None, :], gamma_VxK[:, :, None])[0]


def _ics_fwd(z_VxKxB, alpha_VxT, gamma_VxK, *static):
  return ics_pallas(z_VxKxB, alpha_VxT, gamma_VxK, *static), (z_VxKxB, alpha_VxT, gamma_VxK)


def _ics_bwd(tile, compiler_params, interpret, kept, ybar_VxKxB):
  z_VxKxB, alpha_VxT, gamma_VxK = kept
  call = _call(_backward, z_VxKxB, alpha_VxT, tile, compiler_params, interpret, outputs=3)
  zbar_VxKxB, alphabar, gammabar = call(
    z_VxKxB, alpha_VxT[:, None, :], gamma_VxK[:, :, None], ybar_VxKxB
  )
  alphabar_VxT, gammabar_VxK = jnp.sum(alphabar, (1, 2)), jnp.sum(gammabar, (1, 3))
  return zbar_VxKxB, alphabar_VxT.astype(alpha_VxT.dtype), gammabar_VxK.astype(gamma_VxK.dtype)


ics_pallas.defvjp(_ics_fwd, _ics_bwd)


def _call(kernel, z_VxKxB, alpha_VxT, tile, compiler_params, interpret, outputs):
  """The pallas_call over (view, tile of columns); derivatives by alpha and gamma come out per tile."""
  (views, dims, columns), iterations = z_VxKxB.shape, alpha_VxT.shape[1]
  tiles, padded = pl.cdiv(columns, tile), pl.next_power_of_2(dims)
  block = pl.BlockSpec((1, padded, tile), lambda v, c: (v, 0, c))
  of_view = [
    pl.BlockSpec((1, *shape), lambda v, c: (v, 0, 0)) for shape in ((1, iterations), (padded, 1))
  ]
  of_tile = [
    pl.BlockSpec((1, 1, *shape), lambda v, c: (v, c, 0, 0))
    for shape in ((1, iterations), (padded, 1))
  ]
  shapes = [
    jax.ShapeDtypeStruct(z_VxKxB.shape, z_VxKxB.dtype),
    jax.ShapeDtypeStruct((views, tiles, 1, iterations), jnp.float32),
    jax.ShapeDtypeStruct((views, tiles, dims, 1), jnp.float32),
  ]
  return pl.pallas_call(
    functools.partial(kernel, dims=dims, columns=columns),
    grid=(views, tiles),
    in_specs=[block, *of_view] + [block] * (outputs == 3),
    out_specs=[block, *of_tile][:outputs],
    out_shape=shapes[:outputs],
    compiler_params=compiler_params,
    interpret=interpret,
  )


def _load(ref, outside: float, dims: int, columns: int) -> jax.Array:
  """The block in float32, with `outside` where it reaches past the array."""
  x_KxC = ref[0].astype(jnp.float32)
  k = jax.lax.broadcasted_iota(jnp.int32, x_KxC.shape, 0)
  c = jax.lax.broadcasted_iota(jnp.int32, x_KxC.shape, 1) + pl.program_id(1) * x_KxC.shape[1]
  return jnp.where((k < dims) & (c < columns), x_KxC, outside)


def _recursion(z_KxC, alpha_ref, dims: int) -> tuple[list[jax.Array], list[jax.Array]]:
  """mu_0 ... mu_{T-1} and tau_0 ... tau_T, each 1xC."""
  taus, mus = [jnp.zeros((1, z_KxC.shape[1]), jnp.float32)], []
  for t in range(alpha_ref.shape[-1]):
    mus.append(jnp.sum(jnp.maximum(z_KxC - taus[-1], 0.0), 0, keepdims=True) / dims)
    taus.append(taus[-1] + alpha_ref[0, :, t : t + 1].astype(jnp.float32) * mus[-1])
  return mus, taus


def _forward(z_ref, alpha_ref, gamma_ref, y_ref, *, dims: int, columns: int) -> None:
  z_KxC = _load(z_ref, -jnp.inf, dims, columns)  # what lies outside never wins
  _, taus = _recursion(z_KxC, alpha_ref, dims)
  y_KxC = gamma_ref[0].astype(jnp.float32) * jnp.maximum(z_KxC - taus[-1], 0.0)
  y_ref[0] = y_KxC.astype(y_ref.dtype)


def _backward(
  z_ref,
  alpha_ref,
  gamma_ref,
  ybar_ref,
  zbar_ref,
  alphabar_ref,
  gammabar_ref,
  *,
  dims: int,
  columns: int,
):
  """The recursion in reverse, as in `ics._ics_bwd`."""
  z_KxC, ybar_KxC = _load(z_ref, -jnp.inf, dims, columns), _load(ybar_ref, 0.0, dims, columns)
  mus, taus = _recursion(z_KxC, alpha_ref, dims)
  gammabar_ref[0, 0] = jnp.sum(jnp.maximum(z_KxC - taus[-1], 0.0) * ybar_KxC, 1, keepdims=True)
  zbar_KxC = jnp.where(z_KxC > taus[-1], gamma_ref[0].astype(jnp.float32) * ybar_KxC, 0.0)
  taubar_1xC = -jnp.sum(zbar_KxC, 0, keepdims=True)
  for t in reversed(range(len(mus))):
    alphabar_ref[0, 0, :, t : t + 1] = jnp.sum(taubar_1xC * mus[t], 1, keepdims=True)
    mubar_1xC = taubar_1xC * alpha_ref[0, :, t : t + 1].astype(jnp.float32) / dims
    through_mu_KxC = jnp.where(z_KxC > taus[t], mubar_1xC, 0.0)
    zbar_KxC += through_mu_KxC
    taubar_1xC -= jnp.sum(through_mu_KxC, 0, keepdims=True)
  zbar_ref[0] = zbar_KxC.astype(zbar_ref.dtype)
