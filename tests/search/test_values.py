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


def cells_of(value_B, stratum_B, label_B):
  table = np.zeros((stratum_B.max() + 1, value_B.max() + 1, 2), np.int64)
  np.add.at(table, (stratum_B, value_B, label_B), 1)
  return values.of_table(table), table


def test_parts_given_a_field_add_up_to_what_the_field_tells_given_it(monkeypatch):
  rng = np.random.default_rng(2)
  value_B, stratum_B = rng.integers(0, (12, 5), (4000, 2)).T
  label_B = rng.binomial(1, 0.2 + 0.05 * value_B * (stratum_B % 2))
  cells, table = cells_of(value_B, stratum_B, label_B)
  monkeypatch.setattr(values, '_by_chance_within', lambda rows, every, positive: 0.0)
  rows_W = np.bincount(value_B)
  score_W = values.given(cells, np.zeros(12), rows_W, len(value_B))
  assert score_W.sum() == pytest.approx(information.plug_in(table[None]), rel=1e-12)


def test_chance_is_removed_within_strata():
  """Labels dealt out anew within each stratum give values nothing, though strata differ."""
  rng = np.random.default_rng(3)
  stratum_B = rng.integers(0, 60, 6000)
  value_B = rng.zipf(1.6, 6000).clip(max=150) - 1
  means = []
  for _ in range(60):
    label_B = rng.binomial(1, 0.05 + 0.9 * (stratum_B % 3) / 2)
    cells, _ = cells_of(value_B, stratum_B, label_B)
    means.append(values.given(cells, np.zeros(150), np.bincount(value_B), 1).sum())
  assert abs(np.mean(means)) < 4 * np.std(means) / np.sqrt(len(means))
  assert np.std(means) > 0


def test_a_value_that_tells_only_given_another_field_scores_by_that():
  """A label that is the exclusive or of the two fields, but for values above 3."""
  rng = np.random.default_rng(4)
  value_B, stratum_B = rng.integers(0, (8, 2), (8000, 2)).T
  label_B = np.where(value_B < 4, (value_B + stratum_B) % 2, rng.integers(0, 2, 8000))
  cells, table = cells_of(value_B, stratum_B, label_B)
  rows_W = np.bincount(value_B)
  alone_W = values.preference(table.sum(0)[:, 1:], rows_W, 8000)
  score_W = values.given(cells, alone_W, rows_W, 8000)
  assert alone_W.max() < 1e-3
  np.testing.assert_allclose(score_W[:4], rows_W[:4] / 8000 * np.log(2), rtol=0.02)
  assert np.abs(score_W[4:]).max() < 1e-3


def test_a_cell_of_one_row_counts_as_its_value_does_alone():
  cells = values.Cells(np.arange(3), np.arange(3), np.ones(3), np.array([[1.0], [0.0], [1.0]]))
  alone_W = np.array([0.1, -0.2, 0.3])
  np.testing.assert_array_equal(values.given(cells, alone_W, np.ones(3), 3), alone_W)


def test_chance_is_exact_where_a_label_is_rare():
  """Cells of many rows of strata in which few rows, or none, have one of the labels."""
  rng = np.random.default_rng(5)
  for rows, every, positive in ((300, 4000, 20), (300, 4000, 3990), (500, 90_000, 300)):
    share = rng.hypergeometric(positive, every - positive, rows, 20_000) / rows
    drawn = rows * (
      values._term(share, positive / every) + values._term(1 - share, 1 - positive / every)
    )
    found = values._by_chance_within(*np.array([[rows], [every], [positive]]))
    assert abs(found[0] - drawn.mean()) < 4 * drawn.std() / np.sqrt(len(drawn))
  for positive in (0, 4000):
    assert values._by_chance_within(*np.array([[300], [4000], [positive]])) == 0
