"""The Pallas kernel in the interpreter against the plain form, and that it lowers for TPU and CUDA."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import triton
from rec_sparse.sparsity import ics, ics_pallas


def example(views, dims, columns, iterations, dtype):
  key_z, key_alpha, key_gamma, key_ybar = jax.random.split(jax.random.key(dims), 4)
  return (
      jax.random.normal(key_z, (views, dims, columns), dtype),
      jax.random.uniform(key_alpha, (views, iterations)),
      jax.random.normal(key_gamma, (views, dims)),
      jax.random.normal(key_ybar, (views, dims, columns), dtype),
  )


@pytest.mark.parametrize('dims, columns, dtype', [
    (8, 32, jnp.float32), (12, 40, jnp.float32), (5, 7, jnp.bfloat16)])  # whole blocks; blocks past the end, twice
def test_equal_to_the_plain_form(dims, columns, dtype):
  *x, ybar = example(2, dims, columns, 3, dtype)
  kernel = functools.partial(ics_pallas.ics_pallas, tile=16, interpret=True)
  plain, pull_plain = jax.vjp(functools.partial(ics.ics, axis=-2), *x)
  found, pull = jax.vjp(kernel, *x)
  tolerance = 1e-6 if dtype == jnp.float32 else 1e-2
  for a, b in zip([found, *pull(ybar)], [plain, *pull_plain(ybar)], strict=True):
    assert a.dtype == b.dtype
    np.testing.assert_allclose(a.astype(jnp.float32), b.astype(jnp.float32), rtol=1e-5, atol=10 * tolerance)
  np.testing.assert_allclose(found.astype(jnp.float32), plain.astype(jnp.float32), atol=tolerance)


def test_under_vmap_over_trials():
  *x, _ = example(2, 8, 16, 3, jnp.float32)
  x_S = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), x)
  found = jax.jit(jax.vmap(functools.partial(ics_pallas.ics_pallas, tile=16, interpret=True)))(*x_S)
  np.testing.assert_allclose(found, jax.vmap(functools.partial(ics.ics, axis=-2))(*x_S), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('platform, tile, compiler_params', [('tpu', 128, None), ('cuda', 32, triton.CompilerParams())])
def test_lowers_without_a_device(platform, tile, compiler_params):
  *x, ybar = example(4, 128, 512, 5, jnp.float32)
  kernel = functools.partial(ics_pallas.ics_pallas, tile=tile, compiler_params=compiler_params)
  step = jax.jit(lambda ybar, *x: jax.vjp(kernel, *x)[1](ybar))
  assert 'custom_call' in step.trace(ybar, *x).lower(lowering_platforms=(platform,)).as_text()
