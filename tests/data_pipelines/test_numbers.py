"""Numbers: one text each, cells that keep order and counts, edges that follow the training rows."""

from hypothesis import assume
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import polars as pl
import pytest

from data_pipelines import numbers

FINITE = st.floats(min_value=-numbers.FLOAT32, max_value=numbers.FLOAT32)
ROWS = st.lists(st.one_of(FINITE, st.integers(-3, 3).map(float)), min_size=1, max_size=60)


def _table(values):
  """value, count, sorted, in exact cells."""
  return numbers.total(numbers.count(numbers.EMPTY, pl.Series(values, dtype=pl.Float64)))[0]


def test_one_text_for_each_number():
  ones = ['1', '1.0', '1.00', '1e0', ' 1 ', '+1']
  assert numbers.canonical(pl.Series(ones)).to_list() == ['1'] * 6
  texts = ['-0.0', '2.50', '.5', '-3.', '1E3', '', 'word', 'e.g.', '1.0.0']
  want = ['0', '2.5', '0.5', '-3', '1000', '', 'word', 'e.g.', '1.0.0']
  assert numbers.canonical(pl.Series(texts)).to_list() == want
  long = ['10000169349117863715', '12']
  assert numbers.canonical(pl.Series(long)).to_list() == long  # without a point all digits stay


def test_whole_numbers_are_told_apart_below_two_to_the_53():
  texts = [f'{2**53 - 1}.0', f'{1 - 2**53}.0', f'{2**53}.0', f'-{2**53}.0']
  whole = [text.removesuffix('.0') for text in texts]
  alike = [a == b for a, b in zip(numbers.canonical(pl.Series(texts)), whole, strict=True)]
  assert alike == [True, True, False, False]


@pytest.mark.parametrize(
  'texts, are',
  [
    (['1', '2.5', '-1e-3', ' .5', '+7', '-inf'], True),
    (['0', '0.5', '-0.1'], True),
    ([], False),
    (['1', 'x'], False),
    (['7', '007'], False),
    (['٣'], False),  # a digit, but polars reads no number there
    (['1.5', ''], False),
    (['12e4567', '1'], False),
    (['1_0'], False),
  ],
)
def test_what_numbers_are(texts, are):
  assert numbers.are_numbers(pl.Series(texts, dtype=pl.String)) == are


@given(st.lists(FINITE, min_size=2, max_size=30), st.integers(0, 52))
def test_floor_keeps_the_order(values, dropped):
  value_W = np.sort(np.array(values))
  floor_W = numbers.floor(pl.Series(value_W), dropped).to_numpy()
  assert (floor_W <= value_W).all() and (np.diff(floor_W) >= 0).all()
  np.testing.assert_array_equal(numbers.floor(pl.Series(floor_W), dropped).to_numpy(), floor_W)
  np.testing.assert_allclose(floor_W, value_W, rtol=2.0 ** (dropped - 52), atol=1e-290)


@settings(deadline=None)
@given(
  ROWS,
  st.integers(2, 8),
  st.randoms(use_true_random=False),
  st.integers(1, 60),
  st.sampled_from([5, 1 << 18]),
)
def test_edges(values, buckets, random, cut, cells):
  """Rising; every value in a bucket; the order is kept; the same in any order and chunks."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(numbers, 'CELLS', cells)
    counted = numbers.count(numbers.EMPTY, pl.Series(values, dtype=pl.Float64))
    table, dropped = numbers.total(counted)
    assume(dropped <= 52)  # with CELLS as they are it always is: float64 has fewer exponents
    found = numbers.edges(table, buckets, dropped)
    shuffled = random.sample(values, len(values))
    counted = numbers.EMPTY
    for chunk in (shuffled[:cut], shuffled[cut:]):
      counted = numbers.count(counted, pl.Series(chunk, dtype=pl.Float64))
    again, again_dropped = numbers.total(counted)
  assert again.equals(table) and again_dropped == dropped and table['count'].sum() == len(values)
  assert (np.diff(found) > 0).all() and len(found) <= 2 * buckets
  ordered = pl.Series(sorted(values), dtype=pl.Float64)
  bucket_B = numbers.bucket(ordered, found).cast(pl.Int64).to_numpy()
  assert (np.diff(bucket_B) >= 0).all() and bucket_B.min() >= 0 and bucket_B.max() <= len(found)
  assert set(bucket_B) == set(range(len(found) + 1))  # no bucket is empty in training
  if table['value'].len() <= buckets and not dropped:
    assert len(found) + 1 == len(table)  # each value has its own
  of_cells_W = numbers.bucket(table['value'], found)
  counts = table.group_by(of_cells_W.alias('bucket')).agg(pl.col('count').sum())
  rows_K = np.bincount(bucket_B)
  in_cells = {int(k): rows for k, rows in counts.rows()}
  assert in_cells == dict(enumerate(rows_K.tolist()))  # cells count as rows do


def test_quantiles_hold_equally_many_rows():
  value_N = np.random.default_rng(0).lognormal(sigma=3, size=20_000)
  found = numbers.edges(_table(value_N), 50)
  bucket_N = numbers.bucket(pl.Series(value_N), found).cast(pl.Int64).to_numpy()
  rows_K = np.bincount(bucket_N)
  assert len(rows_K) == 50 and rows_K.min() >= 399 and rows_K.max() <= 401


def test_many_zeros_leave_the_rest_apart():
  value_N = np.concatenate([np.zeros(9000), np.linspace(1, 2, 500), np.linspace(-2, -1, 500)])
  found = numbers.edges(_table(value_N), 16)
  bucket_N = numbers.bucket(pl.Series(value_N), found).cast(pl.Int64).to_numpy()
  of_zero = set(bucket_N[:9000])
  assert len(found) + 1 >= 15 and len(of_zero) == 1 and not of_zero & set(bucket_N[9000:])
  assert max(np.bincount(bucket_N)[np.unique(bucket_N[9000:])]) <= 80


def test_a_sentinel_has_its_own_bucket():
  value_N = [-999_999_999.0] * 40 + [*np.linspace(18, 40, 500)]
  found = numbers.edges(_table(value_N), 16)
  bucket = numbers.bucket(pl.Series([-999_999_999.0, 17.0, 18.0]), found).to_list()
  assert bucket[0] != bucket[1] == bucket[2]  # an unseen 17 is with its neighbours


def test_missing_has_no_bucket():
  assert numbers.bucket(pl.Series('a', [None, 1.0, 9.0]), (2.0,)).to_list() == ['', '0', '1']


def test_scale():
  value_N = np.random.default_rng(0).normal(1e6, 10, 5000)
  by = numbers.scale(_table(value_N))
  np.testing.assert_allclose([by.mean, by.deviation], [value_N.mean(), value_N.std()], rtol=1e-9)
  z_N = numbers.scaled(pl.Series([None, *value_N]), by)
  assert z_N.dtype == np.float32 and z_N[0] == 0
  want_N = (value_N - value_N.mean()) / value_N.std()
  np.testing.assert_allclose(z_N[1:], want_N, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('sentinel', [-999_999_999.0, -3.4e38, 3.4e38])
def test_a_sentinel_does_not_flatten_the_others(sentinel):
  value_N = np.array([18.5, 23.5, 31.0, 40.25] * 250 + [sentinel] * 40)
  z_N = numbers.scaled(pl.Series(value_N), numbers.scale(_table(value_N)))
  assert np.isfinite(z_N).all() and z_N[:4].std() > 0.2 and abs(z_N[-1]) < 10


@pytest.mark.parametrize('values', [[], [3.0], [0.0] * 99 + [1e30]])
def test_scale_of_what_hardly_varies(values):
  z_N = numbers.scaled(pl.Series(values, dtype=pl.Float64), numbers.scale(_table(values)))
  assert np.isfinite(z_N).all() and len(set(z_N)) == len(set(values))


def test_log_square():
  number = pl.Series('n', [-3.0, 0, 1.9, 2, 2.1, 1000, None, 5, -1e30])
  bucket = numbers.log_square(number).to_list()
  assert bucket == ['-3', '0', '1', '2', '0', '47', '', '2', str(-(2**53))]
