"""Missing splits are cut from train exactly, by seed, and whatever the chunks are."""

import numpy as np
import pytest

from data_pipelines import split


@pytest.mark.parametrize('missing', [1, 2])
def test_one_row_of_each_run_goes_to_each_missing_split(missing):
  length = 8 + missing
  split_RxL = split.split_of_rows(0, 1000 * length, missing, 3).reshape(-1, length)
  for index in range(1, missing + 1):
    assert ((split_RxL == index).sum(axis=1) == 1).all()
    places = np.bincount(
      split_RxL.argmax(axis=1) if index == missing == 1 else np.nonzero(split_RxL == index)[1]
    )
    # each place about equally often
    assert len(places) == length and places.min() > 60 and places.max() < 150


def test_nothing_is_cut_when_nothing_is_missing():
  assert not split.split_of_rows(5, 100, 0, 3).any()


def test_chunks_do_not_matter():
  whole = split.split_of_rows(0, 5000, 2, 3)
  parts = [
    split.split_of_rows(first, min(777, 5000 - first), 2, 3) for first in range(0, 5000, 777)
  ]
  np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_seeds_cut_differently():
  first, second = (split.split_of_rows(0, 10_000, 2, seed) == 1 for seed in (0, 1))
  assert 50 < (first & second).sum() < 150  # a tenth of a tenth, as by chance
