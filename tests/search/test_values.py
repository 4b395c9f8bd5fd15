"""The closed form of single values: parts of the field's information, and none for useless ones."""

import numpy as np
import pytest

from rec_sparse.search import information
from rec_sparse.search import values


def test_parts_add_up_to_the_information_of_the_field(monkeypatch):
  rng = np.random.default_rng(0)
  table = rng.integers(1, 300, (40, 2))
  monkeypatch.setattr(values, '_by_chance', lambda rows, rate: 0.5)
  score = values.preference(table[:, 1:], table.sum(1), table.sum())
  parts = score + 0.5 / table.sum()
  assert parts.sum() == pytest.approx(information.plug_in(table[None, None]), rel=1e-12)


def test_chance_is_removed_from_rare_and_from_frequent_values():
  rng = np.random.default_rng(1)
  rows_R = np.repeat([1, 3, 20, 128, 1000], 4000)
  positive_RxT = rng.binomial(rows_R[:, None], [[0.3, 0.05]])
  score_R = values.preference(positive_RxT, rows_R, 1)
  for rows in (1, 3, 20, 128, 1000):
    own = score_R[rows_R == rows]
    assert abs(own.mean()) < 4 * own.std() / np.sqrt(len(own))
  telling = values.preference(np.array([[90], [300]]), np.array([100, 1000]), 1100)
  assert telling[0] > 0
