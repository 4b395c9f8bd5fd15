"""Objectives: what several tasks are together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse import metrics
from rec_sparse import objective

TASKS = ('click', 'buy')


def found_in(label_ExT, group_E=None, monitor='logloss'):
  """(objective, metrics) of random logits."""
  of_tasks = objective.clicks(TASKS, monitor)
  logits_ExT = np.random.default_rng(1).normal(size=label_ExT.shape).astype(np.float32)
  batch = {'label_BxT': label_ExT.astype(np.float32), 'weight_B': np.ones(len(label_ExT))}
  sums = jax.jit(of_tasks.add)(of_tasks.zeros(), logits_ExT, batch)
  labels = objective.Labels(label_ExT, group_E)
  return logits_ExT, of_tasks, of_tasks.compute(sums, logits_ExT, labels)


def test_metrics_of_several_tasks_are_means_beside_those_of_each_task():
  rng = np.random.default_rng(0)
  label_ExT = (rng.random((300, 2)) < (0.5, 0.1)).astype(np.uint8)
  group_E = rng.integers(0, 5, 300)
  logits_ExT, by_users, found = found_in(label_ExT, group_E, 'gauc_users')
  own = [metrics.report(logits_ExT[:, t], label_ExT[:, t], group_E) for t in (0, 1)]
  for task, exact in zip(TASKS, own, strict=True):
    assert exact.items() <= found['tasks'][task].items()
  for name in ('logloss', 'auc', 'gauc_users', 'gauc_impressions', 'calibration'):
    assert found[name] == pytest.approx((own[0][name] + own[1][name]) / 2)
  assert found['examples'] == 300
  loss_E = np.logaddexp(0, np.where(label_ExT == 1, -logits_ExT, logits_ExT)).mean(1)
  assert found['logloss_standard_error'] == pytest.approx(loss_E.std(ddof=1) / 300**0.5, rel=1e-5)

  assert by_users.rank(found) == found['gauc_users']
  assert objective.clicks(TASKS, 'logloss').rank(found) == -found['logloss']
  batch = {'label_BxT': label_ExT.astype(np.float32), 'weight_B': jnp.ones(300)}
  assert float(by_users.loss(logits_ExT, batch)) == pytest.approx(2 * found['logloss'], rel=1e-5)


def test_a_mean_over_tasks_is_undefined_where_that_of_a_task_is():
  label_ExT = np.zeros((20, 2), np.uint8)
  label_ExT[::2, 0] = 1
  _, _, found = found_in(label_ExT)
  assert found['auc'] is None and found['tasks']['click']['auc'] is not None
  assert 'gauc_users' not in found


def test_outputs_that_are_not_finite_have_no_metrics():
  of_tasks = objective.clicks(TASKS, 'auc')
  labels = objective.Labels(np.zeros((4, 2), np.uint8), None)
  assert of_tasks.compute(of_tasks.zeros(), np.full((4, 2), np.nan, np.float32), labels) is None


@pytest.mark.parametrize('smoothing, positive', [(0.2, 1.0), (0.0, 3.0), (0.1, 0.5)])
def test_smoothed_and_weighted_loss_is_the_mean_over_examples_written_out(smoothing, positive):
  rng = np.random.default_rng(2)
  logits_BxT = rng.normal(size=(7, 2)).astype(np.float32)
  label_BxT = (rng.random((7, 2)) < 0.4).astype(np.float32)
  batch = {'label_BxT': label_BxT, 'weight_B': np.array([1, 1, 1, 0, 1, 1, 0], np.float32)}
  of_tasks = objective.clicks(TASKS, 'logloss', smoothing, positive)
  total = 0.0
  for logits, labels, weight in zip(logits_BxT, label_BxT, batch['weight_B'], strict=True):
    for logit, label in zip(logits, labels, strict=True):
      probability = 1 / (1 + np.exp(-logit))
      share = label * (1 - smoothing) + smoothing / 2
      own = -share * np.log(probability) - (1 - share) * np.log(1 - probability)
      total += weight * own * (positive if label else 1.0)
  assert float(of_tasks.loss(logits_BxT, batch)) == pytest.approx(total / 5, rel=1e-5)


def test_without_smoothing_and_weights_the_loss_is_the_plain_one():
  assert objective.clicks(TASKS, 'auc', 0.0, 1.0).loss is objective.clicks_loss
