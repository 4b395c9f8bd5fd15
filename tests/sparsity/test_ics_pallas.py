"""The Pallas kernel in the interpreter against the plain form, and that it lowers for TPU and CUDA."""

import functools

import jax
from jax.experimental.pallas import triton
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse.sparsity import ics
from rec_sparse.sparsity import ics_pallas


def example(views, dims, columns, iterations, dtype):
  key_z, key_alpha, key_gamma, key_ybar = jax.random.split(jax.random.key(dims), 4)
  return (
    jax.random.normal(key_z, (views, dims, columns), dtype),
    jax.random.uniform(key_alpha, (views, iterations)),
    jax.random.normal(key_gamma, (views, dims)),
    jax.random.normal(key_ybar, (views, dims, columns), dtype),
  )


def both_ways(f):
  """The value and the three derivatives, compiled."""

  def run(ybar, *x):
    y, pull = jax.vjp(f, *x)
    return y, *pull(ybar)

  return jax.jit(run)


# whole blocks; blocks past the end, twice
@pytest.mark.parametrize(
  'dims, columns, dtype', [(8, 32, jnp.float32), (12, 40, jnp.float32), (5, 7, jnp.bfloat16)]
)
def test_equal_to_the_plain_form(dims, columns, dtype):
  *x, ybar = example(2, dims, columns, 3, dtype)
  kernel = functools.partial(ics_pallas.ics_pallas, tile=16, interpret=True)
  plain, found = (
    both_ways(functools.partial(ics.ics, axis=-2))(ybar, *x),
    both_ways(kernel)(ybar, *x),
  )
  tolerance = 1e-6 if dtype == jnp.float32 else 1e-2
  for a, b, atol in zip(found, plain, [tolerance] + [10 * tolerance] * 3, strict=True):
    assert a.dtype == b.dtype
    np.testing.assert_allclose(a.astype(jnp.float32), b.astype(jnp.float32), rtol=1e-5, atol=atol)


def test_under_vmap_over_trials():
  *x, _ = example(2, 8, 16, 3, jnp.float32)
  x_S = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), x)
  found = jax.jit(jax.vmap(functools.partial(ics_pallas.ics_pallas, tile=16, interpret=True)))(*x_S)
  np.testing.assert_allclose(
    found, jax.vmap(functools.partial(ics.ics, axis=-2))(*x_S), rtol=1e-5, atol=1e-6
  )


needs_a_gpu = pytest.mark.skipif(
  jax.__version_info__ >= (0, 11), reason='jax 0.11 lowers to Triton on a GPU only'
)


@pytest.mark.parametrize(
  'platform, tile, compiler_params',
  [('tpu', 128, None), pytest.param('cuda', 32, triton.CompilerParams(), marks=needs_a_gpu)],
)
def test_lowers_without_a_device(platform, tile, compiler_params):
  *x, ybar = example(4, 128, 512, 5, jnp.float32)
  kernel = functools.partial(ics_pallas.ics_pallas, tile=tile, compiler_params=compiler_params)
  assert (
    'custom_call'
    in both_ways(kernel).trace(ybar, *x).lower(lowering_platforms=(platform,)).as_text()
  )
