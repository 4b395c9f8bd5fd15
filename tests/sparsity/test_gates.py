"""The controls of ICS: what each keeps, what is exactly zero, and derivatives."""

import functools

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from rec_sparse.sparsity import gates

V, K, B, ITERATIONS = 3, 16, 40, 5
OPTIONS = gates.Options()


def params(alpha=0.1, gamma=1.0):
  return gates.Params(jnp.full((V, ITERATIONS), alpha), jnp.full((V, K), gamma))


@pytest.fixture
def z_VxKxB():
  return jax.random.normal(jax.random.key(0), (V, K, B))


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize('name', gates.GATES)
def test_every_gate_keeps_shape_and_type_and_has_finite_gradients(name, dtype, z_VxKxB):
  def loss(z_VxKxB, p, key):
    h_VxKxB = gates.GATES[name](z_VxKxB, p, OPTIONS, key)
    return jnp.sum(h_VxKxB.astype(jnp.float32) ** 2), h_VxKxB

  step = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
  for key in (None, jax.random.key(1)):
    found, h_VxKxB = step(z_VxKxB.astype(dtype), params(), key)
    assert h_VxKxB.shape == (V, K, B) and h_VxKxB.dtype == dtype
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in jax.tree.leaves(found))
    assert bool(jnp.any(found[0] != 0)) and bool(jnp.any(found[1].gamma_VxK != 0))


@pytest.mark.parametrize('name', gates.GATES)
def test_gamma_scales_the_output(name, z_VxKxB):
  gate = functools.partial(gates.GATES[name], options=OPTIONS)
  np.testing.assert_allclose(
    gate(z_VxKxB, params(gamma=3.0)), 3 * gate(z_VxKxB, params()), rtol=1e-6
  )


def test_relu_is_ics_without_alpha(z_VxKxB):
  without = gates.ics(z_VxKxB, params(alpha=0.0), OPTIONS)
  np.testing.assert_array_equal(gates.relu(z_VxKxB, params(), OPTIONS), without)
  np.testing.assert_array_equal(gates.identity(z_VxKxB, params(), OPTIONS), z_VxKxB)


def test_one_iteration_is_ics_with_one_alpha(z_VxKxB):
  p = params()
  short = gates.Params(p.alpha_VxI[:, :1], p.gamma_VxK)
  np.testing.assert_array_equal(
    gates.one_iteration(z_VxKxB, p, OPTIONS), gates.ics(z_VxKxB, short, OPTIONS)
  )


@pytest.mark.parametrize('alpha, zeros', [(0.1, 0.57), (0.5, 0.75)])
def test_soft_threshold_starts_where_ics_does_but_does_not_follow_the_scale(alpha, zeros):
  z_VxKxB = jax.random.normal(jax.random.key(2), (1, 128, 2048))
  p = gates.Params(jnp.full((1, 5), alpha), jnp.ones((1, 128)))

  def share(scale):
    return float(jnp.mean(gates.soft_threshold(scale * z_VxKxB, p, OPTIONS) == 0))

  assert share(1.0) == pytest.approx(zeros, abs=0.01)
  assert share(0.2) > share(1.0) + 0.1


def test_soft_threshold_per_dimension(z_VxKxB):
  p = params()
  wide = gates.Params(jnp.broadcast_to(p.alpha_VxI[:, None], (V, K, ITERATIONS)), p.gamma_VxK)
  np.testing.assert_allclose(
    gates.soft_threshold(z_VxKxB, wide, OPTIONS), gates.soft_threshold(z_VxKxB, p, OPTIONS)
  )


@settings(deadline=None, max_examples=20)
@given(
  seed=st.integers(0, 1000),
  share=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
  levels=st.sampled_from([2, 5, 1000]),
)
def test_top_k_keeps_exactly_k_largest_where_they_are(seed, share, levels):
  options, k = gates.Options(kept=share), max(round(share * K), 1)
  z = np.random.default_rng(seed).integers(1, levels + 1, (V, K, B)).astype(np.float32)  # many ties
  found = np.asarray(gates.top_k(jnp.asarray(z), params(), options))
  kept = found != 0
  assert (kept.sum(1) == k).all()
  np.testing.assert_array_equal(found[kept], z[kept])
  np.testing.assert_array_equal(-np.sort(-found, 1)[:, :k], -np.sort(-z, 1)[:, :k])


def test_top_k_is_straight_through(z_VxKxB):
  weight_VxKxB = jax.random.normal(jax.random.key(3), z_VxKxB.shape)
  bar = jax.grad(lambda z: jnp.sum(weight_VxKxB * gates.top_k(z, params(gamma=2.0), OPTIONS)))(
    z_VxKxB
  )
  np.testing.assert_allclose(bar, 2 * weight_VxKxB, rtol=1e-6)


def test_top_k_values_forgets_positions(z_VxKxB):
  found = gates.top_k_values(z_VxKxB, params(), OPTIONS)
  np.testing.assert_array_equal(found, gates.top_k_values(z_VxKxB[:, ::-1], params(), OPTIONS))
  np.testing.assert_array_equal(found[:, :8], -np.sort(-np.asarray(z_VxKxB), 1)[:, :8])
  assert not np.any(found[:, 8:])
  bar = jax.grad(lambda z: jnp.sum(gates.top_k_values(z, params(), OPTIONS)))(z_VxKxB)
  np.testing.assert_array_equal(bar, gates.top_k(z_VxKxB, params(), OPTIONS) != 0)


def test_dropout_drops_its_share_in_training_only(z_VxKxB):
  options = gates.Options(dropout=0.25)
  found = gates.dropout(z_VxKxB, params(), options, jax.random.key(4))
  assert float(jnp.mean(found == 0)) == pytest.approx(0.25, abs=0.04)
  np.testing.assert_allclose(found[found != 0], z_VxKxB[found != 0] / 0.75, rtol=1e-6)
  np.testing.assert_array_equal(gates.dropout(z_VxKxB, params(), options), z_VxKxB)


def test_gumbel_bits_have_the_probability_of_their_logit():
  z_VxKxB = jnp.broadcast_to(jnp.linspace(-2.0, 2.0, K)[None, :, None], (V, K, 4000))
  options = gates.Options(temperature=0.5)
  found = gates.gumbel(z_VxKxB, params(), options, jax.random.key(5))
  np.testing.assert_allclose(
    jnp.mean(found != 0, (0, 2)), jax.nn.sigmoid(2 * z_VxKxB[0, :, 0]), atol=0.03
  )
  np.testing.assert_allclose(found[found != 0], z_VxKxB[found != 0], rtol=1e-6)
  np.testing.assert_array_equal(gates.gumbel(z_VxKxB, params(), options), jax.nn.relu(z_VxKxB))


def bisection(f, z_VxKxB, rounds=200):
  """p = f(z - tau) with sum 1 over K, tau by bisection in float64."""
  z = np.asarray(z_VxKxB, np.float64)
  low, high = z.max(1, keepdims=True) - 3, z.max(1, keepdims=True)
  for _ in range(rounds):
    tau = (low + high) / 2
    too_much = f(z - tau).sum(1, keepdims=True) > 1
    low, high = np.where(too_much, tau, low), np.where(too_much, high, tau)
  return f(z - tau)


SIMPLEX = {
  'sparsemax': (gates.sparsemax_p, lambda z: bisection(lambda x: np.maximum(x, 0), z)),
  'entmax15': (
    gates.entmax15_p,
    lambda z: bisection(lambda x: np.maximum(x, 0) ** 2, np.asarray(z) / 2),
  ),
}


@pytest.mark.parametrize('name', SIMPLEX)
@settings(deadline=None, max_examples=20)
@given(
  seed=st.integers(0, 10_000),
  scale=st.sampled_from([1e-3, 0.1, 1.0, 30.0]),
  shift=st.floats(-50, 50),
)
def test_simplex_gates_equal_bisection(name, seed, scale, shift):
  ours, slow = SIMPLEX[name]
  z = np.random.default_rng(seed).normal(shift, scale, (2, 33, 4)).astype(np.float32)
  found = np.asarray(ours(jnp.asarray(z)))
  np.testing.assert_allclose(found, slow(z), atol=2e-5)
  np.testing.assert_allclose(found.sum(1), 1, atol=2e-5)


@pytest.mark.parametrize('name', SIMPLEX)
def test_simplex_derivatives(name, z_VxKxB):
  jax.test_util.check_grads(
    SIMPLEX[name][0], (2 * z_VxKxB,), order=1, modes=['rev'], eps=1e-3, rtol=2e-2, atol=2e-2
  )


def test_sparsemax_is_sparser_than_entmax_and_both_leave_the_mass(z_VxKxB):
  options = gates.Options(mass=0.125)
  sparse, smooth = (
    gates.GATES[name](z_VxKxB, params(), options) for name in ('sparsemax', 'entmax15')
  )
  for h_VxKxB in (sparse, smooth):
    np.testing.assert_allclose(jnp.mean(h_VxKxB, 1), 0.125, rtol=1e-5)
  assert float(jnp.mean(sparse == 0)) > float(jnp.mean(smooth == 0)) > 0.1


@pytest.mark.parametrize(
  'name', ['ics', 'one_iteration', 'relu', 'soft_threshold', 'top_k', 'top_k_values']
)
def test_losers_are_exactly_zero(name, z_VxKxB):
  assert 0.4 < float(jnp.mean(gates.GATES[name](z_VxKxB, params(), OPTIONS) == 0)) < 0.7


@pytest.mark.parametrize('name', ['dropout', 'gumbel'])
def test_padding_does_not_change_the_noise(name):
  z_VxKxB = jax.random.normal(jax.random.key(0), (V, K, 12))
  options = gates.Options(examples=10)
  long, short = (
    gates.GATES[name](z, params(), options, jax.random.key(1)) for z in (z_VxKxB, z_VxKxB[..., :10])
  )
  np.testing.assert_array_equal(long[..., :10], short)
