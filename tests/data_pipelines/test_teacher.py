"""The teacher: its laws, its planted network, and the loss that it says cannot be beaten."""

import numpy as np
import pytest

from data_pipelines import teacher as teacher_lib

ROWS = 200_000


def _sample(recipe, rows=ROWS, stream=9):
  """(teacher, ids, noiseless logits, labels)."""
  teacher, rng = teacher_lib.make(recipe), np.random.default_rng(stream)
  ids_BxF = teacher_lib.draw_ids(teacher, rows, rng)
  logit_B = teacher_lib.logits(teacher, ids_BxF)
  return teacher, ids_BxF, logit_B, teacher_lib.draw_labels(teacher, logit_B, rng)


def _auc(label_B, score_B):
  rank_B = np.argsort(np.argsort(score_B)) + 1.0
  positives = label_B.sum()
  return (rank_B[label_B == 1].sum() - positives * (positives + 1) / 2) / (
    positives * (len(label_B) - positives)
  )


@pytest.mark.parametrize('skew', teacher_lib.SKEWS)
def test_zipf_frequencies(skew):
  vocab = 50
  teacher, ids_BxF, _, _ = _sample(teacher_lib.Recipe(fields=3, vocab=vocab, skew=skew, inputs=2))
  law_W = np.arange(1, vocab + 1) ** -teacher_lib.SKEWS[skew]
  expected_W = ROWS * law_W / law_W.sum()
  for ids_B in ids_BxF.T:
    chi_square = ((np.bincount(ids_B, minlength=vocab) - expected_W) ** 2 / expected_W).sum()
    assert abs(chi_square - (vocab - 1)) < 5 * np.sqrt(2 * (vocab - 1))
  assert abs(np.corrcoef(ids_BxF.T)[0, 1]) < 5 / np.sqrt(ROWS)


@pytest.mark.parametrize('inputs', [1, 4, 7, 24])
def test_units_read_a_few_dimensions_of_a_few_fields(inputs):
  recipe = teacher_lib.Recipe(fields=6, dims=4, hidden=9, inputs=inputs)
  read_HxFxD = teacher_lib.make(recipe).input_NxH.T.reshape(9, 6, 4) != 0
  assert (read_HxFxD.sum(axis=(1, 2)) == inputs).all()
  fields_H = read_HxFxD.any(axis=2).sum(axis=1)
  assert set(fields_H) == {{1: 1, 4: 2, 7: 4, 24: 6}[inputs]}
  often_F = read_HxFxD.any(axis=2).sum(axis=0)
  assert often_F.max() - often_F.min() <= 1  # no field is left out


@pytest.mark.parametrize(
  'recipe',
  [
    teacher_lib.Recipe(),
    teacher_lib.Recipe(noise=2.0, ctr=0.04, seed=1),
    teacher_lib.Recipe(noise=0.0, ctr=0.6),
    teacher_lib.Recipe(inputs=40, skew='uniform'),
  ],
)
def test_irreducible_loss_and_auc_are_those_of_the_labels(recipe):
  """Monte Carlo: the true probability, scored on drawn labels, reaches the stored numbers."""
  teacher, _, logit_B, label_B = _sample(recipe)
  logloss, auc, error = teacher_lib.irreducible(teacher, np.random.default_rng(3), 3e-4)
  assert error <= 3e-4
  p_B = teacher_lib.probability(teacher, logit_B)
  loss_B = -np.log(np.where(label_B == 1, p_B, 1 - p_B))
  assert abs(loss_B.mean() - logloss) < 4 * loss_B.std() / np.sqrt(ROWS)
  assert abs(_auc(label_B, logit_B) - auc) < 0.008
  assert abs(label_B.mean() - recipe.ctr) < 0.005
  assert abs(p_B.mean() - label_B.mean()) < 4 * 0.5 / np.sqrt(ROWS)


def test_noise_is_integrated_out():
  """Without the quadrature the plain sigmoid of the logit would be overconfident, and worse."""
  teacher, _, logit_B, label_B = _sample(teacher_lib.Recipe(noise=3.0))
  losses = []
  for p_B in (teacher_lib.probability(teacher, logit_B), 1 / (1 + np.exp(-logit_B))):
    losses.append(-np.log(np.where(label_B == 1, p_B, 1 - p_B)).mean())
  assert losses[0] < losses[1] - 0.01


def test_little_of_the_signal_is_additive():
  """What a logistic regression on ids can see: main effects.

  They are found by averaging the logit over each id of each field.
  """
  for seed in range(3):
    _, ids_BxF, logit_B, _ = _sample(teacher_lib.Recipe(seed=seed))
    left_B = logit_B - logit_B.mean()
    assert abs(left_B.std() - 2.0) < 0.05  # the signal asked for
    for ids_B in ids_BxF.T:
      count_W = np.bincount(ids_B, minlength=100)
      left_B = left_B - (np.bincount(ids_B, left_B, 100) / np.maximum(count_W, 1))[ids_B]
    additive = 1 - left_B.var() / logit_B.var()
    assert additive < 0.7


def test_same_seed_same_teacher():
  first, again, other = (teacher_lib.make(teacher_lib.Recipe(seed=s)) for s in (1, 1, 2))
  for name in teacher_lib.Teacher._fields:
    np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
  assert not np.array_equal(first.vectors_FxWxD, other.vectors_FxWxD)
  assert not np.array_equal(first.input_NxH, other.input_NxH)


@pytest.mark.parametrize(
  'wrong,message',
  [
    ({'inputs': 41}, 'inputs=41: expected 1 to 40'),
    ({'inputs': 0}, 'inputs=0'),
    ({'skew': 'odd'}, "skew='odd'"),
    ({'ctr': 0.0}, 'ctr=0.0'),
    ({'fields': 0}, 'fields=0'),
    ({'vocab': 1}, 'vocab=1'),
    ({'noise': -1.0}, 'noise=-1'),
    ({'seed': -1}, 'seed=-1'),
    ({'signal': 0.0}, 'signal=0'),
  ],
)
def test_options_out_of_range(wrong, message):
  with pytest.raises(ValueError, match='teacher: ' + message):
    teacher_lib.make(teacher_lib.Recipe(**wrong))


def test_error_of_the_irreducible_loss_is_what_it_says():
  teacher = teacher_lib.make(teacher_lib.Recipe(fields=3, vocab=10))
  found = [
    teacher_lib.irreducible(teacher, np.random.default_rng(seed), 1e-3) for seed in range(30)
  ]
  spread = np.std([best.logloss for best in found])
  assert 0.6 < spread / found[0].error < 1.5 and found[0].error <= 1e-3
