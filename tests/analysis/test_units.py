"""Units whose information is known."""

import json

import numpy as np
import pytest

from rec_sparse.analysis import units


@pytest.fixture
def rng():
  return np.random.default_rng(0)


def test_a_copy_of_the_label_has_all_of_it_and_a_constant_nothing(rng):
  label_Ex1 = (rng.random((4000, 1)) < 0.3).astype(np.float32)
  entropy = -(label_Ex1.mean() * np.log(label_Ex1.mean()))
  entropy -= (1 - label_Ex1.mean()) * np.log(1 - label_Ex1.mean())
  copies_HxE = np.stack([label_Ex1[:, 0], -3 * label_Ex1[:, 0], np.full(4000, 2.0)])
  found = units.layer(copies_HxE, label_Ex1)
  np.testing.assert_allclose(found['as_counted'], [entropy, entropy, 0], atol=1e-12)
  np.testing.assert_allclose(found['information'], found['as_counted'], atol=1e-3)
  assert found['constant'] == found['not_above_chance'] == pytest.approx(1 / 3)
  json.dumps(found, allow_nan=False)


def test_units_that_tell_nothing_are_seldom_above_chance(rng):
  label_ExT = (rng.random((3000, 2)) < 0.4).astype(np.float32)
  noise_HxE = np.maximum(rng.normal(size=(400, 3000)), 0)  # half of each is one value
  found = units.layer(noise_HxE, label_ExT)
  assert 0.95 < found['not_above_chance'] <= 1
  assert np.mean(found['as_counted']) > 1e-3  # what plain counting finds in noise
  assert abs(found['mean_information']) < 1e-4


def test_bins_hold_equally_many_and_equal_values_share_one(rng):
  bins_HxE = units.quantile_bins(np.stack([rng.normal(size=1600), np.arange(1600) // 800]))
  np.testing.assert_array_equal(np.bincount(bins_HxE[0]), np.full(16, 100))
  assert len(set(bins_HxE[1].tolist())) == 2
