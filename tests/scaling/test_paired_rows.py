"""Paired differences on the same rows: DeLong by brute force, coverage over rows and seeds, edge
cases.
"""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from rec_sparse import metrics
from rec_sparse.scaling import paired_rows


def brute_placements(logit_N, label_N):
  positive, negative = logit_N[label_N > 0.5], logit_N[label_N < 0.5]
  wins_PxQ = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
  found = np.empty(len(logit_N))
  found[label_N > 0.5], found[label_N < 0.5] = wins_PxQ.mean(1), wins_PxQ.mean(0)
  return found


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 6))
def test_placements_are_counts_of_outranked_pairs(seed, rows, levels):
  rng = np.random.default_rng(seed)
  logit_N = rng.integers(0, levels, rows).astype(np.float32)  # few levels: many ties
  label_N = rng.permutation(np.arange(rows) % 2).astype(np.float32)
  found_N = paired_rows.placements(logit_N, label_N)
  np.testing.assert_allclose(found_N, brute_placements(logit_N, label_N), atol=1e-12)
  auc = metrics.exact_auc(logit_N, label_N)
  assert (
    found_N[label_N > 0.5].mean()
    == pytest.approx(auc)
    == pytest.approx(found_N[label_N < 0.5].mean())
  )


def test_the_error_over_rows_is_delongs():
  """The textbook variance of a difference of two AUCs: S10 / m + S01 / n with its covariances."""
  rng = np.random.default_rng(0)
  label_N = (rng.random(300) < 0.3).astype(np.float32)
  logits_2xN = rng.normal(size=(2, 300)) + label_N
  found = paired_rows.auc_difference(logits_2xN[:1], logits_2xN[1:], label_N)
  contrast = np.array([-1.0, 1.0])
  components_2xN = np.stack([brute_placements(logit_N, label_N) for logit_N in logits_2xN])
  variance = sum(
    contrast @ np.cov(components_2xN[:, own]) @ contrast / own.sum()
    for own in (label_N > 0, label_N < 1)
  )
  assert found.rows_error == pytest.approx(np.sqrt(variance))
  assert found.interval is None and found.seeds_error is None and found.seeds == 1


def test_the_error_over_rows_agrees_with_a_bootstrap_of_the_rows():
  rng = np.random.default_rng(1)
  label_N = (rng.random(2000) < 0.4).astype(np.float32)
  shared_N = rng.normal(size=2000)
  first_SxN, second_SxN = (shared_N + label_N + 0.3 * rng.normal(size=(3, 2000)) for _ in range(2))
  for measure in (paired_rows.auc_difference, paired_rows.logloss_difference):
    samples = [rng.integers(0, 2000, 2000) for _ in range(300)]
    spread = np.std([measure(first_SxN[:, i], second_SxN[:, i], label_N[i]).value for i in samples])
    assert measure(first_SxN, second_SxN, label_N).rows_error == pytest.approx(spread, rel=0.15)


@pytest.mark.parametrize('measure', [paired_rows.auc_difference, paired_rows.logloss_difference])
def test_intervals_cover_the_true_difference(measure):
  """No true difference; new rows and new seeds in each of 400 repetitions; models of one seed share
  their noise.
  """
  rng, covered = np.random.default_rng(2), 0
  for _ in range(400):
    label_N = (rng.random(400) < 0.5).astype(np.float32)
    row_N, row_of_arm_2xN = rng.normal(size=400) + label_N, 0.3 * rng.normal(size=(2, 400))
    strength_2xSx1 = 1.0 + 0.1 * rng.normal(size=(2, 5, 1))  # what a seed does to an arm
    first_SxN, second_SxN = strength_2xSx1 * (row_N + row_of_arm_2xN[:, None]) + 0.2 * rng.normal(
      size=(2, 5, 400)
    )
    low, high = measure(first_SxN, second_SxN, label_N).interval
    covered += low <= 0.0 <= high
  assert 0.94 <= covered / 400 <= 0.999


def test_an_arm_equals_itself():
  logit_SxN, label_N = np.random.default_rng(0).normal(size=(3, 50)), np.arange(50) % 2
  for measure in (paired_rows.auc_difference, paired_rows.logloss_difference):
    assert measure(logit_SxN, logit_SxN, label_N) == (0.0, (0.0, 0.0), 0.0, 0.0, 3)


def test_one_class_has_no_auc():
  with pytest.raises(ValueError, match='all of one class'):
    paired_rows.placements(np.zeros(3), np.ones(3))
