"""ICS in closed form against the iteration of the paper, its derivative against autodiff."""

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

ALPHAS = {'per_view': (3,), 'per_dimension': (3, 12)}  # shape of alpha without its iterations

closed = jax.jit(lib.ics)
iterated = jax.jit(lib.ics_iterated)


def example(name, iterations, seed=0, scale=1.0, dtype=jnp.float32):
  """Random z_VxKxB, alpha >= 0 and gamma_VxK."""
  key_z, key_alpha, key_gamma = jax.random.split(jax.random.key(seed), 3)
  return (
    scale * jax.random.normal(key_z, (3, 12, 5), dtype),
    jax.random.uniform(key_alpha, (*ALPHAS[name], iterations), maxval=1.5),
    jax.random.normal(key_gamma, (3, 12)),
  )


def scaled_error(a, b):
  """Largest difference relative to the largest magnitude."""
  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  return np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)


@settings(deadline=None, max_examples=30)
@given(
  name=st.sampled_from(sorted(ALPHAS)),
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
  z_VxKxB = jnp.asarray(rng.normal(shift, 1, (1, k, 4)), jnp.float32)
  alpha_VxI = jnp.asarray(rng.uniform(0, top, (1, iterations)), jnp.float32)
  x = z_VxKxB, alpha_VxI, jnp.ones((1, k))
  error = np.abs(np.asarray(closed(*x)) - np.asarray(iterated(*x))).max()
  assert error < 1e-6 * max(1, float(z_VxKxB.max()))


@functools.partial(jax.jit, static_argnums=0)
def gradients(f, *x):
  """Derivatives of a smooth function of the output by z, alpha and gamma."""

  def loss(*x):
    return jnp.sum(jnp.sin(2 * f(*x)))

  return jax.grad(loss, argnums=(0, 1, 2))(*x)


@pytest.mark.parametrize('name', ALPHAS)
@pytest.mark.parametrize('iterations', [1, 5])
def test_derivative_equals_autodiff_of_the_iteration(name, iterations):
  x = example(name, iterations, seed=iterations)
  for ours, theirs in zip(gradients(lib.ics, *x), gradients(lib.ics_iterated, *x), strict=True):
    assert ours.shape == theirs.shape and scaled_error(ours, theirs) < 1e-5


@pytest.mark.parametrize('name', ALPHAS)
def test_derivative_equals_finite_differences(name):
  x = example(name, 3, seed=11)
  jax.test_util.check_grads(lib.ics, x, order=1, modes=['rev'], eps=1e-3, rtol=2e-2, atol=2e-2)


def test_negative_alpha_is_where_the_forms_part():
  z, alpha, gamma = example('per_view', 2)
  assert bool(jnp.all(lib.ics_iterated(z, -alpha, gamma) != 0))
  assert bool(jnp.any(lib.ics(z, -alpha, gamma) == 0))

  def soft_threshold(alpha):
    return gamma[..., None] * jax.nn.relu(z - lib.thresholds(z, alpha, gamma)[-1])

  ours = jax.grad(lambda a: jnp.sum(lib.ics(z, a, gamma)))(-alpha)
  theirs = jax.grad(lambda a: jnp.sum(soft_threshold(a)))(-alpha)
  assert scaled_error(ours, theirs) < 1e-5


@settings(deadline=None, max_examples=25)
@given(c=st.floats(1e-3, 1e3), seed=st.integers(0, 2**31 - 1))
def test_positive_homogeneity(c, seed):
  z, *rest = example('per_view', 5, seed)
  ours = closed(jnp.float32(c) * z, *rest)
  theirs = c * np.asarray(closed(z, *rest), np.float64)
  assert scaled_error(ours, theirs) < 2e-6


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
  z_VxKxB = jax.random.normal(jax.random.key(0), (1, 128, 4096))
  y_VxKxB = lib.ics(z_VxKxB, jnp.full((1, iterations), alpha), jnp.ones((1, 128)))
  assert float(jnp.mean(y_VxKxB == 0)) == pytest.approx(zeros, abs=0.01)


def test_thresholds_grow_and_the_last_one_decides():
  z_VxKxB, alpha_VxI, gamma_VxK = example('per_view', 6)
  tau_IxVx1xB = lib.thresholds(z_VxKxB, alpha_VxI, gamma_VxK)
  assert tau_IxVx1xB.shape == (6, 3, 1, 5)
  assert bool(jnp.all(jnp.diff(tau_IxVx1xB, axis=0) >= 0))
  alive_VxKxB = lib.ics(z_VxKxB, alpha_VxI, gamma_VxK) != 0
  np.testing.assert_array_equal(alive_VxKxB, z_VxKxB > tau_IxVx1xB[-1])


def test_every_alpha_of_an_example_pulls_the_same_way():
  z_VxKxB, _, gamma_VxK = example('per_view', 5)

  def last(alpha_I):
    alpha_VxI = jnp.broadcast_to(alpha_I, (3, 5))
    return lib.thresholds(z_VxKxB, alpha_VxI, gamma_VxK)[-1, :, 0]

  bar_VxBxI = jax.jacrev(last)(jnp.full(5, 0.3))
  assert bool(jnp.all(bar_VxBxI > 0))  # so the alphas of a view act as one parameter


def test_jit_and_vmap_over_trials():
  z_VxKxB, _, gamma_VxK = example('per_view', 5)
  alpha_SxVxI = jax.random.uniform(jax.random.key(5), (4, 3, 5))

  def loss(alpha_VxI):
    return jnp.sum(lib.ics(z_VxKxB, alpha_VxI, gamma_VxK) ** 2)

  value_and_grad = jax.value_and_grad(loss)
  together = jax.tree.leaves(jax.jit(jax.vmap(value_and_grad))(alpha_SxVxI))
  for s in range(4):
    in_turn = jax.tree.leaves(value_and_grad(alpha_SxVxI[s]))
    for ours, theirs in zip(together, in_turn, strict=True):
      np.testing.assert_allclose(ours[s], theirs, rtol=2e-5)


def test_bfloat16_keeps_its_type_and_float32_thresholds():
  z, alpha, gamma = example('per_view', 5, dtype=jnp.bfloat16)
  exact = lib.ics(z.astype(jnp.float32), alpha, gamma)
  found = lib.ics(z, alpha, gamma)
  assert found.dtype == jnp.bfloat16 and lib.thresholds(z, alpha, gamma).dtype == jnp.float32
  np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))
  z_bar, alpha_bar, _ = gradients(lib.ics, z, alpha, gamma)
  assert z_bar.dtype == jnp.bfloat16 and alpha_bar.dtype == jnp.float32


def memory(f, iterations):
  """(bytes kept between forward and backward, bytes of temporaries); z is 2 MiB of float32."""
  z = jax.ShapeDtypeStruct((8, 128, 512), jnp.float32)
  alpha = jax.ShapeDtypeStruct((8, iterations), jnp.float32)
  gamma = jax.ShapeDtypeStruct((8, 128), jnp.float32)

  def both(z, alpha, gamma, y_bar):
    return jax.vjp(f, z, alpha, gamma)[1](y_bar)

  kept = jax.tree.leaves(jax.eval_shape(lambda *x: jax.vjp(f, *x)[1], z, alpha, gamma))
  compiled = jax.jit(both).lower(z, alpha, gamma, z).compile()
  kept_bytes = sum(a.size * a.dtype.itemsize for a in kept)
  return kept_bytes, compiled.memory_analysis().temp_size_in_bytes


def test_backward_keeps_no_activations_of_the_iterations():
  activation = 4 * 8 * 128 * 512
  kept_2, temporary_2 = memory(lib.ics, 2)
  kept_20, temporary_20 = memory(lib.ics, 20)
  assert kept_20 - kept_2 < 18 * activation / 100
  assert temporary_20 - temporary_2 < activation
  assert memory(lib.ics_iterated, 20)[0] - memory(lib.ics_iterated, 2)[0] > 4 * activation


def test_positive_reparametrisation():
  alpha_I = jnp.array([1e-3, 0.1, 1.0, 8.0])
  np.testing.assert_allclose(lib.positive(lib.positive_inverse(alpha_I)), alpha_I, rtol=1e-5)


@pytest.mark.parametrize(
  'z, alpha, gamma',
  [
    ((3, 8, 4), (3, 2), (3, 7)),
    ((3, 8, 4), (3, 0), (3, 8)),
    ((3, 8, 4), (2, 2), (3, 8)),
    ((3, 8, 4), (3, 4, 2), (3, 8)),
    ((8, 4), (2,), (8,)),
  ],
)
def test_shapes_that_do_not_fit_are_named(z, alpha, gamma):
  with pytest.raises(ValueError, match='expected .V, K, B.: gamma'):
    lib.ics(jnp.zeros(z), jnp.zeros(alpha), jnp.zeros(gamma))
