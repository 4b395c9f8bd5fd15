"""Estimators of information: exact on tables that are known, unbiased where nothing is told."""

import numpy as np
import pytest

from rec_sparse.search import information


def table_of(value, label, stratum=None, strata=1):
  stratum = np.zeros_like(value) if stratum is None else stratum
  half = np.arange(len(value)) % 2
  values = int(value.max()) + 1
  cell = ((half * strata + stratum) * values + value) * 2 + label
  return np.bincount(cell, minlength=4 * strata * values).reshape(2, strata, values, 2)


def test_a_value_that_is_the_label_tells_its_entropy():
  label = np.array([0, 1, 1, 1] * 50)
  rng = np.random.default_rng(0)
  entropy = -0.25 * np.log(0.25) - 0.75 * np.log(0.75)
  assert information.plug_in(table_of(label, label)) == pytest.approx(entropy, rel=1e-12)
  found = information.permutation(table_of(label, label), rng)
  assert found.low < entropy < found.high and found.value == pytest.approx(entropy, abs=0.01)
  given = information.permutation(table_of(label, label, label, 2), rng)
  assert given == information.Estimate(0, 0, pytest.approx(0, abs=1e-12))


def test_useless_fields_have_none_once_chance_is_removed():
  rng = np.random.default_rng(1)
  label = (rng.random(40_000) < 0.3).astype(int)
  for values in (10, 1000, 20_000):
    table = table_of(rng.integers(0, values, len(label)), label)
    found = information.permutation(table, rng)
    assert found.low < 0 < found.high
    assert found.plug_in == pytest.approx(information.plug_in(table))
    assert information.split(table, rng).low < 0
  assert found.plug_in > 0.2 and information.as_counted(table, rng).low > 0.2


def test_intervals_hold_what_they_say_where_another_field_is_given():
  """Labels depend on the stratum alone, and the value on the stratum too; then on the value."""
  rng = np.random.default_rng(2)
  held = {'none': 0, 'some': 0}
  rate_W = 0.2 + 0.04 * (np.arange(30) % 8)
  for _ in range(100):
    stratum = rng.integers(0, 12, 3000)
    value = (2 * stratum + rng.integers(0, 8, len(stratum))) % 30
    label = (rng.random(len(value)) < 0.1 + 0.05 * stratum).astype(int)
    found = information.permutation(table_of(value, label, stratum, 12), rng)
    held['none'] += found.low < 0 < found.high

    value = rng.integers(0, 30, len(stratum))
    label = (rng.random(len(value)) < rate_W[value]).astype(int)
    found = information.permutation(table_of(value, label), rng)
    p_2 = np.stack([1 - rate_W, rate_W])
    truth = (p_2 * np.log(p_2 / p_2.mean(1, keepdims=True))).sum(0).mean()
    held['some'] += found.low < truth < found.high
  assert held['none'] >= 88 and held['some'] >= 88


@pytest.mark.parametrize('rates', [(0.2, 0.8), (0.3, 0.45), (0.05, 0.15)])
def test_cells_of_few_rows_show_what_a_field_tells(rates):
  """Two rows to a cell in the mean: less than a whole effect is seen, and most by chance."""
  rng = np.random.default_rng(4)
  stratum = rng.integers(0, 200, 100_000)
  value = rng.integers(0, 250, 100_000)
  label = (rng.random(100_000) < np.array(rates)[value % 2]).astype(int)
  p_2 = np.array([rates, 1 - np.array(rates)])
  truth = (p_2 * np.log(p_2 / p_2.mean(1, keepdims=True))).sum(0).mean()
  found = information.permutation(table_of(value, label, stratum, 200), rng)
  assert found.plug_in > 2 * truth
  assert abs(found.value - truth) < found.half + 0.08 * truth


def test_cells_of_one_row_say_nothing():
  alone = np.arange(500)
  found = information.permutation(table_of(alone, alone % 2), np.random.default_rng(0))
  assert found.value == 0 and found.half == np.inf
  size_X, share_X = information.seen(0.5)
  assert share_X[0] == 0 and share_X[1] == pytest.approx(np.log(2)) and size_X[-1] > 100
  assert share_X[-1] == pytest.approx(1, abs=0.01)


def test_normalised_information_of_fields():
  rng = np.random.default_rng(3)
  value = rng.integers(0, 8, 20_000)
  other = rng.integers(0, 50, 20_000)

  def pair(first, second):
    table = np.zeros((first.max() + 1, second.max() + 1), int)
    np.add.at(table, (first, second), 1)
    return information.normalised(table)

  assert pair(value, (3 * value + 1) % 8) == pytest.approx(1)
  assert pair(value, value // 4) == pytest.approx(1, abs=1e-3)
  assert pair(value, other) == pytest.approx(0, abs=1e-3)
  assert pair(value, np.zeros_like(value)) == 0
