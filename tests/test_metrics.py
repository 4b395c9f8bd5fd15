"""Metrics against slow, obvious versions of themselves."""

import functools
import json
import operator

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse import metrics


def click_log(
  rng: np.random.Generator, n: int, bias: float = -3.4
) -> tuple[np.ndarray, np.ndarray]:
  """Logits of a calibrated model and labels drawn from them: a CTR near 5 %."""
  logit_E = rng.normal(bias, 0.9, n).astype(np.float32)
  return logit_E, (rng.random(n) < 1 / (1 + np.exp(-logit_E))).astype(np.float32)


def slow_auc(logit_E, label_E):
  """Every pair of a positive and a negative."""
  positive, negative = logit_E[label_E > 0.5], logit_E[label_E < 0.5]
  if not len(positive) or not len(negative):
    return None
  return float(
    np.mean(
      (positive[:, None] > negative[None, :]) + 0.5 * (positive[:, None] == negative[None, :])
    )
  )


def summed(logits_ExT, label_ExT, batch, bins=metrics.BINS):
  """The sums over whole batches, in a jit-compiled scan."""
  tasks = logits_ExT.shape[1]

  def step(sums, x):
    return metrics.update(sums, *x), None

  def cut(x):
    return jnp.asarray(x).reshape(-1, batch, *x.shape[1:])

  weight_N = np.ones(len(logits_ExT), np.float32)
  scan = jax.jit(lambda *x: jax.lax.scan(step, metrics.zeros(tasks, bins), x)[0])
  return scan(cut(logits_ExT), cut(label_ExT), cut(weight_N))


@pytest.fixture(scope='module')
def million():
  return click_log(np.random.default_rng(0), 2**20)


def test_binned_auc_is_exact_to_1e_6_on_a_million_examples(million):
  logit_E, label_E = million
  (found,) = metrics.compute(summed(logit_E[:, None], label_E[:, None], 2**15))
  assert abs(found['auc'] - metrics.exact_auc(logit_E, label_E)) < 1e-6


def test_200_bins_would_not_do(million):
  logit_E, label_E = million
  (found,) = metrics.compute(summed(logit_E[:, None], label_E[:, None], 2**15, bins=200))
  assert abs(found['auc'] - metrics.exact_auc(logit_E, label_E)) > 1e-4


def test_sums_agree_with_the_exact_report(million):
  logit_E, label_E = million
  (found,) = metrics.compute(summed(logit_E[:, None], label_E[:, None], 2**12))
  exact = metrics.report(logit_E, label_E)
  for name in ('logloss', 'normalized_entropy', 'calibration'):
    np.testing.assert_allclose(found[name], exact[name], rtol=1e-7)
  assert found['examples'] == exact['examples'] == 2**20
  json.dumps([found, exact])


def test_a_long_sum_loses_nothing_that_matters():
  steps = 200_000  # a plain float32 sum of these is off by 5e-5 and more
  step_sum = jnp.float32(1234.567)
  pair_2x1, plain = jax.jit(
    lambda: jax.lax.fori_loop(
      0,
      steps,
      lambda i, c: (metrics._add(c[0], step_sum[None]), c[1] + step_sum),
      (jnp.zeros((2, 1), jnp.float32), jnp.float32(0)),
    )
  )()
  exact = steps * float(step_sum)
  np.testing.assert_allclose(np.asarray(pair_2x1, np.float64).sum(), exact, rtol=1e-12)
  assert abs(float(plain) - exact) / exact > 1e-5


def test_tasks_are_kept_apart_and_padding_counts_for_nothing():
  rng = np.random.default_rng(1)
  logits_ExT = rng.normal(size=(256, 3)).astype(np.float32)
  label_ExT = (rng.random((256, 3)) < [0.2, 0.5, 0.7]).astype(np.float32)
  expected = metrics.compute(summed(logits_ExT, label_ExT, 64))

  def pad(x, value):
    return jnp.asarray(np.concatenate([x, np.full((44, 3), value, np.float32)]))

  weight_B = jnp.asarray(np.arange(300) < 256, jnp.float32)
  padded = metrics.update(metrics.zeros(3), pad(logits_ExT, np.nan), pad(label_ExT, 1), weight_B)
  for t, (a, b) in enumerate(zip(expected, metrics.compute(padded), strict=True)):
    assert a == pytest.approx(b, rel=1e-6)
    assert a['auc'] == pytest.approx(metrics.exact_auc(logits_ExT[:, t], label_ExT[:, t]), abs=1e-3)


def test_merge_is_the_sum_over_both():
  logit_E, label_E = click_log(np.random.default_rng(2), 4096)
  logit_Nx1, label_Nx1 = logit_E[:, None], label_E[:, None]
  first = summed(logit_Nx1[:1024], label_Nx1[:1024], 256)
  rest = summed(logit_Nx1[1024:], label_Nx1[1024:], 256)
  whole = summed(logit_Nx1, label_Nx1, 256)
  assert metrics.compute(metrics.merge(first, rest))[0] == pytest.approx(
    metrics.compute(whole)[0], rel=1e-9
  )


def test_under_vmap_over_trials():
  rng = np.random.default_rng(3)
  logits_SxBxT = jnp.asarray(rng.normal(size=(4, 128, 2)), jnp.float32)
  label_BxT = jnp.asarray(rng.random((128, 2)) < 0.3, jnp.float32)
  weight_B = jnp.ones(128, jnp.float32)
  zeros = jax.tree.map(lambda x: jnp.broadcast_to(x, (4, *x.shape)), metrics.zeros(2, 512))
  together = jax.jit(jax.vmap(metrics.update, in_axes=(0, 0, None, None)))(
    zeros, logits_SxBxT, label_BxT, weight_B
  )
  for s in range(4):
    alone = metrics.update(metrics.zeros(2, 512), logits_SxBxT[s], label_BxT, weight_B)
    own = jax.tree.map(operator.itemgetter(s), together)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), own, alone)


def test_the_histogram_is_updated_in_place():
  x = jax.ShapeDtypeStruct((256, 1), jnp.float32)
  w = jax.ShapeDtypeStruct((256,), jnp.float32)
  sums = jax.eval_shape(lambda: metrics.zeros(1))
  compiled = jax.jit(metrics.update, donate_argnums=0).lower(sums, x, x, w).compile()
  assert compiled.memory_analysis().temp_size_in_bytes < 4 * metrics.BINS


@pytest.mark.parametrize('logit', [-100.0, -30.0, 0.0, 30.0, 100.0])
@pytest.mark.parametrize('label', [0.0, 1.0])
def test_log_loss_is_stable_at_large_logits(logit, label):
  expected = np.logaddexp(0.0, -logit if label else logit)
  found = metrics.logloss_from_logits(jnp.float32(logit), jnp.float32(label))
  np.testing.assert_allclose(float(found), expected, rtol=1e-6, atol=1e-38)


def test_logits_beyond_the_bins_still_count():
  logit_B, label_B = jnp.array([-1e9, -20.0, 20.0, jnp.inf]), jnp.array([0.0, 0.0, 1.0, 1.0])
  sums = metrics.update(metrics.zeros(1, 64), logit_B[:, None], label_B[:, None], jnp.ones(4))
  assert metrics.compute(sums)[0]['auc'] == 1.0


@pytest.mark.parametrize('label', [0.0, 1.0])
def test_one_class_only_is_none_not_an_error(label):
  logit_E, label_E = np.zeros(8, np.float32), np.full(8, label, np.float32)
  sums = metrics.update(
    metrics.zeros(1), jnp.asarray(logit_E)[:, None], jnp.asarray(label_E)[:, None], jnp.ones(8)
  )
  for found in (metrics.compute(sums)[0], metrics.report(logit_E, label_E, np.arange(8))):
    assert found['auc'] is None and found['normalized_entropy'] is None
    assert found['logloss'] == pytest.approx(np.log(2), rel=1e-6)
  assert metrics.exact_auc(logit_E, label_E) is None


def test_no_example_at_all():
  empty = np.zeros(0, np.float32)
  nothing = {
    'logloss': None,
    'normalized_entropy': None,
    'calibration': None,
    'examples': 0,
    'auc': None,
  }
  assert metrics.compute(metrics.zeros(1))[0] == nothing
  assert metrics.report(empty, empty) == nothing | {'logloss_standard_error': None}


def test_nan_logits_are_an_error():
  with pytest.raises(ValueError, match='NaN'):
    metrics.exact_auc(np.array([0.0, np.nan]), np.array([0.0, 1.0]))


@settings(deadline=None, max_examples=60)
@given(
  st.lists(
    st.tuples(st.integers(-1, 4), st.integers(-3, 3), st.booleans()), min_size=1, max_size=60
  )
)
def test_auc_and_gauc_equal_a_loop_over_groups(rows):
  group_E, logit_E, label_E = (np.array(column) for column in zip(*rows, strict=True))
  logit_E, label_E = logit_E.astype(np.float32), label_E.astype(np.float32)
  assert metrics.exact_auc(logit_E, label_E) == pytest.approx(slow_auc(logit_E, label_E))
  members = [group_E == g for g in np.unique(group_E) if g >= 0]  # below 0: a row without a group
  aucs = [(slow_auc(logit_E[m], label_E[m]), m.sum()) for m in members]
  kept = [(auc, size) for auc, size in aucs if auc is not None]
  found = metrics.gauc(group_E, logit_E, label_E)
  assert found.skipped_groups == pytest.approx(1 - len(kept) / len(aucs) if aucs else 0)
  assert found.skipped_examples == pytest.approx(1 - sum(size for _, size in kept) / len(rows))
  if not kept:
    assert found.impressions is None and found.users is None
    return
  assert found.users == pytest.approx(np.mean([auc for auc, _ in kept]))
  assert found.impressions == pytest.approx(
    np.average([auc for auc, _ in kept], weights=[size for _, size in kept])
  )


def test_report_names_the_metrics_of_groups():
  logit_E, label_E = click_log(np.random.default_rng(4), 1000, bias=0.0)
  found = metrics.report(logit_E, label_E, np.arange(1000) % 10)
  assert {
    'gauc_impressions',
    'gauc_users',
    'gauc_skipped_examples',
    'gauc_skipped_groups',
  } <= found.keys()
  assert all(isinstance(value, float | int) for value in found.values())
  json.dumps(found)


def test_standard_error_is_the_spread_over_resamples():
  rng = np.random.default_rng(5)
  logit_E, label_E = click_log(rng, 4000)
  means = [
    metrics.report(logit_E[i], label_E[i])['logloss'] for i in rng.integers(0, 4000, (200, 4000))
  ]
  assert metrics.logloss_standard_error(logit_E, label_E) == pytest.approx(np.std(means), rel=0.2)
