"""What all architectures share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse.embedding import placement
from rec_sparse.models import layers

BATCHES = [24, 2 * 64 * layers.TILE]  # in one piece; by tiles


@pytest.mark.parametrize('batch', BATCHES)
def test_transposed_is_a_transposition_in_values_and_gradients(batch):
  x_BxN, g_NxB = _arrays(batch)
  found_NxB, pull = jax.vjp(jax.jit(layers.transposed), x_BxN)
  np.testing.assert_array_equal(found_NxB, x_BxN.T)
  np.testing.assert_array_equal(pull(g_NxB)[0], g_NxB.T)


def test_transposed_maps_over_trials():
  x_BxN, _ = _arrays(BATCHES[1])
  x_TxBxN = jnp.stack([x_BxN, 2 * x_BxN])
  np.testing.assert_array_equal(jax.vmap(layers.transposed)(x_TxBxN), x_TxBxN.transpose(0, 2, 1))


@pytest.mark.parametrize('batch', BATCHES)
def test_transposing_a_batch_over_devices_sends_nothing(batch):
  mesh = placement.make_mesh(4)
  examples = jax.NamedSharding(mesh, jax.P('data'))

  def both(x_BxN, g_NxB):
    return jax.vjp(layers.transposed, x_BxN)[1](g_NxB)[0]

  x_BxN, g_NxB = _arrays(batch)
  g_NxB = jax.device_put(g_NxB, jax.NamedSharding(mesh, jax.P(None, 'data')))
  compiled = (
    jax.jit(both, out_shardings=examples).lower(jax.device_put(x_BxN, examples), g_NxB).compile()
  )
  assert not any(
    word in compiled.as_text() for word in ('all-gather', 'all-to-all', 'collective-permute')
  )


def _arrays(batch):
  rng = np.random.default_rng(0)
  return (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((batch, 30), (30, batch)))


def test_dropout_keeps_the_mean_and_padding_does_not_change_it():
  def drop(x_NxB):
    noise = {'dropout': jax.random.key(3)}
    return layers.Dropout(0.25, 50).apply({}, x_NxB, train=True, rngs=noise)

  short_NxB = drop(jnp.ones((200, 50)))
  np.testing.assert_array_equal(drop(jnp.ones((200, 52)))[:, :50], short_NxB)
  assert set(np.unique(short_NxB)) == {0, np.float32(1 / 0.75)}
  assert abs(float(jnp.mean(short_NxB)) - 1) < 4 * (0.25 / 0.75 / short_NxB.size) ** 0.5
