"""ICS in closed form against the iteration of the paper, its derivative against autodiff and finite
differences.
"""

import functools

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from rec_sparse.sparsity import ics as lib

SHAPES = {  # name: (z, alpha without T, gamma, axis)
  'rows': ((8, 12), (), (12,), -1),
  'batch_major': ((4, 3, 12), (3,), (3, 12), -1),
  'feature_major': ((3, 12, 5), (3,), (3, 12), -2),
  'feature_major_shared': ((3, 12, 5), (), (12,), 1),
  'per_dimension': ((3, 12, 5), (3, 12), (3, 12), -2),
  'per_dimension_rows': ((8, 12), (12,), (12,), -1),
}


closed = jax.jit(lib.ics, static_argnums=3)
iterated = jax.jit(lib.ics_iterated, static_argnums=3)


def example(name, iterations, seed=0, scale=1.0, dtype=jnp.float32):
  """Random z, alpha >= 0 and gamma of a layout, and its axis."""
  z, alpha, gamma, axis = SHAPES[name]
  key_z, key_alpha, key_gamma = jax.random.split(jax.random.key(seed), 3)
  return (
    scale * jax.random.normal(key_z, z, dtype),
    jax.random.uniform(key_alpha, (*alpha, iterations), maxval=1.5),
    jax.random.normal(key_gamma, gamma),
    axis,
  )


def scaled_error(a, b):
  """Largest difference relative to the largest magnitude."""
  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  return np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)


@settings(deadline=None, max_examples=30)
@given(
  name=st.sampled_from(sorted(SHAPES)),
  iterations=st.sampled_from([1, 5]),
  seed=st.integers(0, 2**31 - 1),
  scale=st.sampled_from([1e-3, 1.0, 50.0]),
)
def test_closed_form_equals_the_iteration(name, iterations, seed, scale):
  x = example(name, iterations, seed, scale)
  assert scaled_error(closed(*x), iterated(*x)) < 1e-6


@settings(deadline=None, max_examples=40)
@given(
  k=st.sampled_from([1, 2, 37, 300]),
  iterations=st.sampled_from([1, 8]),
  seed=st.integers(0, 2**31 - 1),
  shift=st.floats(-3, 3),
  top=st.floats(0, 4),
)
def test_closed_form_equals_the_iteration_for_any_dimension(k, iterations, seed, shift, top):
  rng = np.random.default_rng(seed)
  z_BxK = jnp.asarray(rng.normal(shift, 1, (4, k)), jnp.float32)
  alpha_T = jnp.asarray(rng.uniform(0, top, iterations), jnp.float32)
  x = z_BxK, alpha_T, jnp.ones(k)
  error = np.abs(np.asarray(closed(*x, -1)) - np.asarray(iterated(*x, -1))).max()
  assert error < 1e-6 * max(1, float(z_BxK.max()))


def gradients(f, z, alpha, gamma, axis):
  """Derivatives of a smooth function of the output by z, alpha and gamma."""
  return jax.jit(jax.grad(lambda *x: jnp.sum(jnp.sin(2 * f(*x, axis))), argnums=(0, 1, 2)))(
    z, alpha, gamma
  )


@pytest.mark.parametrize('name', SHAPES)
@pytest.mark.parametrize('iterations', [1, 5])
def test_derivative_equals_autodiff_of_the_iteration(name, iterations):
  x = example(name, iterations, seed=iterations)
  for ours, theirs in zip(gradients(lib.ics, *x), gradients(lib.ics_iterated, *x), strict=True):
    assert ours.shape == theirs.shape and scaled_error(ours, theirs) < 1e-5


@pytest.mark.parametrize('name', SHAPES)
def test_derivative_equals_finite_differences(name):
  *x, axis = example(name, 3, seed=11)
  ics = functools.partial(lib.ics, axis=axis)
  jax.test_util.check_grads(ics, x, order=1, modes=['rev'], eps=1e-3, rtol=2e-2, atol=2e-2)


def test_negative_alpha_is_where_the_forms_part():
  z, alpha, gamma, axis = example('rows', 2)
  assert bool(jnp.all(lib.ics_iterated(z, -alpha, gamma, axis) != 0))
  assert bool(jnp.any(lib.ics(z, -alpha, gamma, axis) == 0))
  ours = jax.grad(lambda a: jnp.sum(lib.ics(z, a, gamma, axis)))(-alpha)
  theirs = jax.grad(
    lambda a: jnp.sum(gamma[None, :] * jax.nn.relu(z - lib.thresholds(z, a, gamma, axis)[-1]))
  )(-alpha)
  assert scaled_error(ours, theirs) < 1e-5


@settings(deadline=None, max_examples=25)
@given(c=st.floats(1e-3, 1e3), seed=st.integers(0, 2**31 - 1))
def test_positive_homogeneity(c, seed):
  z, *rest = example('feature_major', 5, seed)
  assert (
    scaled_error(closed(jnp.float32(c) * z, *rest), c * np.asarray(closed(z, *rest), np.float64))
    < 2e-6
  )


@pytest.mark.parametrize(
  'iterations, alpha, zeros',
  [
    (1, 0.1, 0.52),
    (2, 0.1, 0.53),
    (5, 0.1, 0.57),
    (5, 0.3, 0.68),
    (5, 0.5, 0.75),
    (1, 1.0, 0.65),
    (5, 1.0, 0.84),
    (8, 1.0, 0.89),
  ],
)
def test_shares_of_exact_zeros_for_gaussian_input(iterations, alpha, zeros):
  z_BxK = jax.random.normal(jax.random.key(0), (4096, 128))
  y_BxK = lib.ics(z_BxK, jnp.full(iterations, alpha), jnp.ones(128))
  assert float(jnp.mean(y_BxK == 0)) == pytest.approx(zeros, abs=0.01)


def test_thresholds_grow_and_the_last_one_decides():
  z_VxKxB, alpha_VxT, gamma_VxK, axis = example('feature_major', 6)
  tau_TxVx1xB = lib.thresholds(z_VxKxB, alpha_VxT, gamma_VxK, axis)
  assert tau_TxVx1xB.shape == (6, 3, 1, 5) and bool(jnp.all(jnp.diff(tau_TxVx1xB, axis=0) >= 0))
  alive_VxKxB = lib.ics(z_VxKxB, alpha_VxT, gamma_VxK, axis) != 0
  np.testing.assert_array_equal(alive_VxKxB, z_VxKxB > tau_TxVx1xB[-1])


def test_every_alpha_of_an_example_pulls_the_same_way():
  z_BxK, _, gamma_K, axis = example('rows', 5)
  bar_T = jax.jacrev(lambda a: lib.thresholds(z_BxK, a, gamma_K, axis)[-1, :, 0])(jnp.full(5, 0.3))
  assert bool(jnp.all(bar_T > 0))  # ssr.md section 1.4: the T alphas act as one parameter


def test_jit_and_vmap_over_trials():
  z_VxKxB, _, gamma_VxK, axis = example('feature_major', 5)
  alpha_SxVxT = jax.random.uniform(jax.random.key(5), (4, 3, 5))
  loss = lambda alpha_VxT: jnp.sum(lib.ics(z_VxKxB, alpha_VxT, gamma_VxK, axis) ** 2)
  together = jax.jit(jax.vmap(jax.value_and_grad(loss)))(alpha_SxVxT)
  for s in range(4):
    alone = jax.value_and_grad(loss)(alpha_SxVxT[s])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[s], b, rtol=2e-5), together, alone)


def test_bfloat16_keeps_its_type_and_float32_thresholds():
  z, alpha, gamma, axis = example('feature_major', 5, dtype=jnp.bfloat16)
  exact = lib.ics(z.astype(jnp.float32), alpha, gamma, axis)
  found = lib.ics(z, alpha, gamma, axis)
  assert found.dtype == jnp.bfloat16 and lib.thresholds(z, alpha, gamma, axis).dtype == jnp.float32
  np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))
  z_bar, alpha_bar, _ = gradients(lib.ics, z, alpha, gamma, axis)
  assert z_bar.dtype == jnp.bfloat16 and alpha_bar.dtype == jnp.float32


def memory(f, iterations):
  """Bytes kept between forward and backward, and temporaries of the two compiled as one; z is 2 MiB
  of float32.
  """
  shape = lambda *s: jax.ShapeDtypeStruct(s, jnp.float32)
  x = shape(8, 128, 512), shape(8, iterations), shape(8, 128)
  f = functools.partial(f, axis=-2)
  kept = jax.tree.leaves(jax.eval_shape(lambda *x: jax.vjp(f, *x)[1], *x))
  both = jax.jit(lambda *x: jax.vjp(f, *x[:3])[1](x[3])).lower(*x, x[0]).compile()
  return sum(a.size * a.dtype.itemsize for a in kept), both.memory_analysis().temp_size_in_bytes


def test_backward_keeps_no_activations_of_the_iterations():
  activation = 4 * 8 * 128 * 512
  (kept_2, temporary_2), (kept_20, temporary_20) = memory(lib.ics, 2), memory(lib.ics, 20)
  assert kept_20 - kept_2 < 18 * activation / 100 and temporary_20 - temporary_2 < activation
  assert memory(lib.ics_iterated, 20)[0] - memory(lib.ics_iterated, 2)[0] > 4 * activation


def test_positive_reparametrisation():
  alpha_T = jnp.array([1e-3, 0.1, 1.0, 8.0])
  np.testing.assert_allclose(lib.positive(lib.positive_inverse(alpha_T)), alpha_T, rtol=1e-5)


@pytest.mark.parametrize(
  'alpha, gamma', [((2,), (7,)), ((0,), (8,)), ((2, 2), (8,)), ((3, 4, 2), (3, 4, 8))]
)
def test_shapes_that_do_not_fit_are_named(alpha, gamma):
  with pytest.raises(ValueError, match='ICS over axis -1'):
    lib.ics(jnp.zeros((4, 8)), jnp.zeros(alpha), jnp.zeros(gamma))
