"""The static filter against its masked dense twin, and the distribution that it is drawn from."""

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse.sparsity import static_filter


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 2**31 - 1), st.data())
def test_equals_the_masked_dense_twin_forward_and_backward(inputs, views, seed, data):
  kept = data.draw(st.integers(1, inputs))
  filter_ = static_filter.draw(seed, 0, inputs=inputs, views=views, kept=kept)
  x_NxB = jax.random.normal(jax.random.key(0), (inputs, 3))
  bar_VxKxB = jax.random.normal(jax.random.key(1), (views, kept, 3))
  mask_VxNxK = np.asarray(static_filter.mask(filter_), np.float32)
  out, pull = jax.vjp(lambda x: static_filter.keep(filter_, x), x_NxB)
  np.testing.assert_allclose(out, np.einsum('nb,vnk->vkb', x_NxB, mask_VxNxK), atol=1e-6)
  np.testing.assert_allclose(
    pull(bar_VxKxB)[0], np.einsum('vkb,vnk->nb', bar_VxKxB, mask_VxNxK), atol=1e-5
  )


def test_drawn_without_replacement_and_reproducibly():
  def draw(seed, layer):
    return static_filter.draw(seed, layer, inputs=50, views=8, kept=30).indices_VxK

  assert all(len(set(view)) == 30 for view in draw(0, 0))
  np.testing.assert_array_equal(draw(0, 0), draw(0, 0))
  for other in (draw(1, 0), draw(0, 1)):
    assert (other != draw(0, 0)).any()


def test_views_and_layers_are_independent_and_uniform():
  """Two independent subsets of 32 out of 64 share 16 on average.

  Every dimension is kept equally often.
  """
  views = np.concatenate(
    [
      static_filter.draw(seed, layer, inputs=64, views=16, kept=32).indices_VxK
      for seed in range(10)
      for layer in range(2)
    ]
  )
  member = np.zeros((len(views), 64))
  np.put_along_axis(member, views, 1, 1)
  shared = member @ member.T
  off_diagonal = shared[~np.eye(len(views), dtype=bool)]
  assert abs(off_diagonal.mean() - 16) < 0.2  # standard error about .03 for independent views
  assert abs(off_diagonal.var() - 32 * 0.5 * 0.5 * 32 / 63) < 0.3  # hypergeometric variance
  count = member.sum(0)
  assert np.abs(count - 160).max() < 5 * np.sqrt(320 / 4)


def test_a_stack_of_trials_maps_over_filters_of_different_multiplicity():
  drawn = [static_filter.draw(seed, 0, inputs=10, views=4, kept=5) for seed in range(6)]
  assert len({f.inverse_NxM.shape for f in drawn}) > 1
  x = jax.random.normal(jax.random.key(0), (6, 10, 3))
  bar = jax.random.normal(jax.random.key(1), (6, 4, 5, 3))

  def pull(filter_, x, bar):
    _, back = jax.vjp(lambda x: static_filter.keep(filter_, x), x)
    return back(bar)[0]

  stacked = jax.tree.map(jnp.asarray, static_filter.stack(drawn))
  together = jax.vmap(pull)(stacked, x, bar)
  for i, one in enumerate(drawn):
    np.testing.assert_allclose(together[i], pull(one, x[i], bar[i]), rtol=1e-6)


def test_the_backward_pass_has_no_scatter():
  filter_ = static_filter.draw(0, 0, inputs=64, views=4, kept=16)

  def loss(x):
    return jnp.sum(static_filter.keep(filter_, x) ** 2)

  assert 'scatter' not in jax.jit(jax.grad(loss)).lower(jnp.ones((64, 8))).as_text()


def test_more_than_the_input_has_names_the_width():
  with pytest.raises(ValueError, match='width: a view cannot keep 9 of 8'):
    static_filter.draw(0, 0, inputs=8, views=1, kept=9)


def test_the_derivative_in_bfloat16_is_rounded_once():
  filter_ = jax.tree.map(jnp.asarray, static_filter.draw(0, 0, inputs=8, views=40, kept=6))
  bar_VxKxB = jax.random.normal(jax.random.key(0), (40, 6, 16)).astype(jnp.bfloat16)

  def back(dtype):
    return jax.vjp(lambda x: static_filter.keep(filter_, x), jnp.zeros((8, 16), dtype))[1]

  (exact,) = back(jnp.float32)(bar_VxKxB.astype(jnp.float32))
  (found,) = back(jnp.bfloat16)(bar_VxKxB)
  np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))
