"""Stochastic rounding: unbiased, one of the two neighbours, safe for NaN and infinity."""

import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse.embedding import storage
from rec_sparse.embedding.rounding import noise
from rec_sparse.embedding.rounding import stochastic_round


def rounded(x_OxD, rows_O, count=1, seed=0):
  rows_Ox1, column_D = jnp.asarray(rows_O, jnp.int32)[:, None], jnp.arange(x_OxD.shape[1])
  bits = stochastic_round(x_OxD, rows_Ox1, column_D, jnp.int32(count), jnp.uint32(seed))
  return np.asarray(storage.decode(bits).astype(jnp.float32))


def drawn(dim, rows_O, count, seed):
  rows_Ox1 = jnp.asarray(rows_O, jnp.int32)[:, None]
  return np.asarray(noise(rows_Ox1, jnp.arange(dim), jnp.int32(count), jnp.uint32(seed)))


def test_mean_of_many_roundings_is_the_number():
  rng, many = np.random.default_rng(0), 20_000
  x_D = (rng.standard_normal(32) * 10.0 ** rng.integers(-6, 4, 32)).astype(np.float32)
  y_OxD = rounded(jnp.tile(x_D[None], (many, 1)), np.arange(many))
  spacing_D = 2.0 ** (np.floor(np.log2(np.abs(x_D))) - 7)
  assert np.all(np.abs(y_OxD - x_D) < spacing_D)
  assert np.all(np.abs(y_OxD.mean(axis=0) - x_D) < 5 * 0.5 * spacing_D / many**0.5)


def test_numbers_of_bfloat16_are_kept_and_specials_survive():
  exact = np.asarray([[0.0, -0.0, 1.0, -1.5, 2.0**-126, 3e38, np.inf, -np.inf, np.nan]], np.float32)
  exact[0, 5] = float(jnp.bfloat16(3e38))
  np.testing.assert_array_equal(rounded(jnp.asarray(exact), [0]), exact)


@pytest.mark.parametrize('other', [{'rows_O': [8, 9]}, {'count': 2}, {'seed': 1}])
def test_noise_changes_with_row_step_and_seed(other):
  one = {'rows_O': [3, 4], 'count': 1, 'seed': 0}
  draw = [drawn(64, **k) for k in (one, one | other)]
  assert np.mean(draw[0] == draw[1]) < 0.01


def test_noise_is_uniform_and_uncorrelated():
  draws = [drawn(16, np.arange(4096), count, 7) for count in (1, 2)]
  u = np.stack(draws) / 2**32
  counts, _ = np.histogram(u, bins=64, range=(0, 1))
  chi_square = np.sum((counts - u.size / 64) ** 2 / (u.size / 64))
  assert chi_square < 63 + 5 * (2 * 63) ** 0.5
  # steps, rows, columns
  for a, b in (
    (u[0], u[1]),
    (u[:, 1:], u[:, :-1]),
    (u[..., 1:], u[..., :-1]),
  ):
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / a.size**0.5
