"""Paired differences on the same rows: DeLong by brute force, coverage, edge cases."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from rec_sparse import metrics
from rec_sparse.scaling import paired_rows


def brute_placements(logit_E, label_E):
  positive, negative = logit_E[label_E > 0.5], logit_E[label_E < 0.5]
  wins_of_pairs = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
  found = np.empty(len(logit_E))
  found[label_E > 0.5], found[label_E < 0.5] = wins_of_pairs.mean(1), wins_of_pairs.mean(0)
  return found


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 6))
def test_placements_are_counts_of_outranked_pairs(seed, rows, levels):
  rng = np.random.default_rng(seed)
  logit_E = rng.integers(0, levels, rows).astype(np.float32)  # few levels: many ties
  label_E = rng.permutation(np.arange(rows) % 2).astype(np.float32)
  found_E = paired_rows.placements(logit_E, label_E)
  np.testing.assert_allclose(found_E, brute_placements(logit_E, label_E), atol=1e-12)
  auc = metrics.exact_auc(logit_E, label_E)
  assert (
    found_E[label_E > 0.5].mean()
    == pytest.approx(auc)
    == pytest.approx(found_E[label_E < 0.5].mean())
  )


def test_the_error_over_rows_is_delongs():
  """The textbook variance of a difference of two AUCs: S10 / m + S01 / n with its covariances."""
  rng = np.random.default_rng(0)
  label_E = (rng.random(300) < 0.3).astype(np.float32)
  logits_2xE = rng.normal(size=(2, 300)) + label_E
  found = paired_rows.auc_difference(
    logits_2xE[:1, :, None], logits_2xE[1:, :, None], label_E[:, None]
  )
  contrast = np.array([-1.0, 1.0])
  components_2xE = np.stack([brute_placements(logit_E, label_E) for logit_E in logits_2xE])
  variance = sum(
    contrast @ np.cov(components_2xE[:, own]) @ contrast / own.sum()
    for own in (label_E > 0, label_E < 1)
  )
  assert found.rows_error == pytest.approx(np.sqrt(variance))
  assert found.interval is None and found.seeds_error is None and found.seeds == 1


@pytest.mark.parametrize('tasks', [1, 2])
def test_the_error_over_rows_agrees_with_a_bootstrap_of_the_rows(tasks):
  rng = np.random.default_rng(1)
  label_ExT = (rng.random((2000, tasks)) < 0.4).astype(np.float32)
  label_ExT[:, 1:] *= label_ExT[:, :1]  # what happens to a row in one task tells of the other
  shared_ExT = rng.normal(size=(2000, 1)) + label_ExT
  first_SxExT, second_SxExT = (shared_ExT + 0.3 * rng.normal(size=(3, 2000, 1)) for _ in range(2))
  for measure in (paired_rows.auc_difference, paired_rows.logloss_difference):
    samples = [rng.integers(0, 2000, 2000) for _ in range(200)]
    spread = np.std(
      [measure(first_SxExT[:, i], second_SxExT[:, i], label_ExT[i]).value for i in samples]
    )
    assert measure(first_SxExT, second_SxExT, label_ExT).rows_error == pytest.approx(
      spread, rel=0.15
    )


@pytest.mark.parametrize('measure', [paired_rows.auc_difference, paired_rows.logloss_difference])
def test_intervals_cover_the_true_difference(measure):
  """No true difference; new rows and seeds in each of 400 repetitions.

  Models of one seed share their noise.
  """
  rng, covered = np.random.default_rng(2), 0
  for _ in range(400):
    label_E = (rng.random(400) < 0.5).astype(np.float32)
    row_E, row_of_arm_2xE = rng.normal(size=400) + label_E, 0.3 * rng.normal(size=(2, 400))
    strength_2xSx1 = 1.0 + 0.1 * rng.normal(size=(2, 5, 1))  # what a seed does to an arm
    first_SxE, second_SxE = strength_2xSx1 * (row_E + row_of_arm_2xE[:, None]) + 0.2 * rng.normal(
      size=(2, 5, 400)
    )
    logits = first_SxE[..., None], second_SxE[..., None]
    low, high = measure(*logits, label_E[:, None]).interval
    covered += low <= 0.0 <= high
  assert 0.94 <= covered / 400 <= 0.999


def test_an_arm_equals_itself():
  logit_SxExT = np.random.default_rng(0).normal(size=(3, 50, 2))
  label_ExT = np.arange(100).reshape(50, 2) // 3 % 2
  for measure in (paired_rows.auc_difference, paired_rows.logloss_difference):
    assert measure(logit_SxExT, logit_SxExT, label_ExT) == (0.0, (0.0, 0.0), 0.0, 0.0, 3)


def test_one_class_has_no_auc():
  with pytest.raises(ValueError, match='all of one class'):
    paired_rows.placements(np.zeros(3), np.ones(3))
