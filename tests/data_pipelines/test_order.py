"""The row order is a bijection, looks random, and is the same in numpy and in jax."""

import functools

import hypothesis
from hypothesis import strategies
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines import hashing
from data_pipelines import order

SEEDS = strategies.integers(0, 2**32 - 1)


@functools.cache
def _compiled(n):
  return jax.jit(lambda index, seed, epoch: order.permute(index, n, seed, epoch, jnp))


def _order(n, seed=0, epoch=0):
  return order.permute(np.arange(n), n, seed, epoch)


@hypothesis.given(n=strategies.integers(1, 5000), seed=SEEDS, epoch=strategies.integers(0, 10**6))
@hypothesis.settings(deadline=None)
def test_bijection(n, seed, epoch):
  np.testing.assert_array_equal(np.sort(_order(n, seed, epoch)), np.arange(n))


@pytest.mark.parametrize('n', [2**16, 2**16 + 1, 2**20 - 1])
def test_bijection_around_powers_of_two(n):
  np.testing.assert_array_equal(np.sort(_order(n, 3, 4)), np.arange(n))


@pytest.mark.parametrize('n', [2**31, 2**31 - 1, 2**30 + 1])
def test_huge_n_stays_in_range_without_repeats(n):
  rows = order.permute(np.arange(n - 100_000, n), n, 0, 0)
  assert rows.dtype == np.int32 and rows.min() >= 0 and int(rows.max()) < n
  assert len(np.unique(rows)) == len(rows)


@hypothesis.given(
  n=strategies.sampled_from([1, 2, 777, 4096, 4097, 2**31]),
  seed=SEEDS,
  epoch=strategies.integers(0, 99),
)
@hypothesis.settings(deadline=None, max_examples=40)
def test_numpy_equals_jax(n, seed, epoch):
  index = np.unique(np.linspace(0, n - 1, 200, dtype=np.int64)).astype(np.int32)
  inside = _compiled(n)(index, np.uint32(seed), np.int32(epoch))
  np.testing.assert_array_equal(inside, order.permute(index, n, seed, epoch))


def test_numpy_equals_jax_under_vmap_over_seeds():
  index, seeds = np.arange(1000, dtype=np.int32), np.array([0, 1, 7])
  rows_SxB = jax.vmap(lambda seed: order.permute(jnp.asarray(index), 1000, seed, 2, jnp))(
    jnp.asarray(seeds)
  )
  np.testing.assert_array_equal(
    rows_SxB, [order.permute(index, 1000, int(seed), 2) for seed in seeds]
  )


@pytest.mark.parametrize('other', [{'seed': 1}, {'epoch': 1}, {'seed': 2**31}])
def test_seeds_and_epochs_differ(other):
  n = 50_000
  first, second = _order(n), _order(n, **other)
  assert np.sum(first == second) < 12  # one row in n agrees by chance: Poisson with mean 1
  assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(n)
  assert _chi_square(np.histogram2d(first, second, bins=20)[0], 19**2) < 5


@pytest.mark.parametrize('n', [1000, 65_536, 100_003])
def test_positions_are_uncorrelated_with_rows(n):
  """Standard scores over 30 seeds; each is near a unit normal if the order is random."""
  ranks, neighbours, buckets, distances = [], [], [], []
  for seed in range(30):
    rows = _order(n, seed).astype(np.float64)
    ranks.append(np.corrcoef(np.arange(n), rows)[0, 1] * np.sqrt(n - 1))
    neighbours.append(np.corrcoef(rows[:-1], rows[1:])[0, 1] * np.sqrt(n - 1))
    buckets.append(_chi_square(np.histogram2d(np.arange(n), rows, bins=8)[0], 7**2))
    steps = np.histogram((rows[1:] - rows[:-1]) % n, bins=16, range=(0, n))[0]
    distances.append(_chi_square(steps, 15))
  for name, scores in (
    ('rank', ranks),
    ('neighbour', neighbours),
    ('bucket', buckets),
    ('distance', distances),
  ):
    assert abs(np.mean(scores)) < 5 / np.sqrt(30), name
    assert np.std(scores) < 1.7 and np.abs(scores).max() < 8, name


def _chi_square(counts, freedom):
  """Standard score of the chi-square statistic against equal expected counts."""
  expected = counts.mean()
  return (((counts - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom)


def _epoch(first_step, batch_size, rows, shuffle):
  """Row of every example of an epoch, in order, without what pads it."""
  steps = range(first_step, first_step + order.steps_per_epoch(rows, batch_size))
  batches = [order.batch_rows(step, batch_size, rows, 1, shuffle) for step in steps]
  for batch in batches:
    assert batch.rows_B.dtype == np.int32 and batch.weight_B.dtype == np.float32
    assert len(batch.rows_B) == len(batch.weight_B) == batch_size
    assert set(batch.rows_B[batch.weight_B == 0]) <= {batch.rows_B[0]} and batch.weight_B[0] == 1
  return np.concatenate([batch.rows_B[batch.weight_B == 1] for batch in batches])


@pytest.mark.parametrize('batch_size', [1, 25, 30, 99, 100])
def test_every_epoch_has_each_row_once(batch_size):
  steps = order.steps_per_epoch(100, batch_size)
  np.testing.assert_array_equal(_epoch(0, batch_size, 100, True), _order(100, 1))
  np.testing.assert_array_equal(_epoch(2 * steps, batch_size, 100, True), _order(100, 1, 2))
  np.testing.assert_array_equal(_epoch(steps, batch_size, 100, False), np.arange(100))


def test_padding_is_not_counted_as_examples():
  found = [order.examples_of(steps, 30, 100) for steps in (0, 1, 3, 4, 5, 8)]
  assert found == [0, 30, 90, 100, 130, 200]
  assert order.examples_of(7, 25, 100) == 175


def test_the_last_batch_of_a_huge_split_does_not_overflow():
  rows = 2**31 - 1
  step = order.steps_per_epoch(rows, 2**16) - 1
  for xp in (np, jnp):
    found = order.batch_rows(step, 2**16, rows, 1, False, xp)
    assert found.weight_B.sum() == 2**16 - 1
    assert found.rows_B.max() == rows - 1 and found.rows_B.min() >= 0


@pytest.mark.parametrize('batch_size', [0, -1, 101])
def test_no_such_batch(batch_size):
  with pytest.raises(ValueError, match=f'batch_size={batch_size}: .* 100 rows'):
    order.batch_rows(0, batch_size, 100, 0, True)


def test_golden_order():
  """The order is part of what a checkpoint means.

  If this must change, say that runs do not resume across it.
  """
  assert _order(10, 1, 2).tolist() == [8, 1, 0, 5, 4, 7, 6, 3, 2, 9]
  assert hashing.hash_words(1, 2, 3).tolist() == [3661122072]
