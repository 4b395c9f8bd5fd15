"""Curves of density: what is pruned stays pruned, whole networks are the run itself."""

import dataclasses

import numpy as np
import pytest

from launch import main as main_lib
from launch import train as launch_train
from rec_sparse.runs import density
from rec_sparse.runs import density_numbers
from rec_sparse.runs import kernels
from rec_sparse.runs import pruning
from rec_sparse.runs import restored

SETTINGS = ('--width=12', '--embedding_dim=4', '--batch_size=300', '--learning_rate=0.02')


@pytest.fixture(scope='module')
def run(toy, tmp_path_factory):
  """A trained run, opened."""
  out = tmp_path_factory.mktemp('run') / 'dense_mlp'
  flags = [f'--data={toy}', f'--out={out}', '--model=dense_mlp', '--mesh=1', *SETTINGS]
  assert main_lib.call(launch_train.main, launch_train.FLAGS, flags) == 0
  with restored.open_run(out, 'best') as opened:
    yield opened


@pytest.fixture(scope='module')
def curves(run):
  """At two densities, retrained for three steps, beside a small network."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(density, 'DENSITIES', (1.0, 0.3))
    return density.measure(run, density.Asked(retrain_steps=3, small=True), lambda said: None)


@pytest.mark.parametrize('feed', ['resident', 'stream'])
def test_a_retraining_moves_the_weights_but_those_that_were_pruned(run, feed):
  subject = pruning.open_subject(run, 'density')
  config = dataclasses.replace(run.config, feed=feed)
  subject = subject._replace(run=run._replace(config=config))
  scores = pruning.scores_by_size(subject)
  masks = pruning.keep_largest(subject, scores, 0.3)
  params = pruning.pruned(subject, masks).params
  with pruning.retraining(subject, 3) as retrain:
    first, again = (retrain(masks) for _ in range(2))
  kept = pruning.kept_shares(scores, masks)
  for name, kernel in kernels.of(run, {'params': first.params}).items():
    assert np.mean(kernel.weights != 0) == pytest.approx(kept[name])
    before = kernels.of(run, {'params': params})[name].weights
    # a unit without a way to the output has no gradient
    assert np.mean(kernel.weights[before != 0] != before[before != 0]) > 0.2
    same = kernels.of(run, {'params': again.params})[name].weights
    np.testing.assert_array_equal(kernel.weights, same)
  moved = np.abs(first.table.rows_RxD - subject.state.table.rows_RxD).max()
  assert moved > 0 and first.moments is None


def test_points_are_of_the_sizes_that_they_say(run, curves):
  assert set(curves.points) == {
    'magnitude',
    'magnitude_retrained',
    'gradient',
    'gradient_retrained',
    'small_dense',
  }
  n = 24 * 12 + 12 * 12 + 12
  assert (curves.weights, curves.dense_params) == (n, n + 12 + 12 + 1)
  whole, part = curves.points['gradient']
  assert (whole.dense_params, part.dense_params) == (n + 25, round(0.3 * n) + 25)
  np.testing.assert_array_equal(whole.measured.logits_ExT, curves.dense.logits_ExT)
  (small,) = curves.points['small_dense']
  assert small.width < 12 and small.dense_params == pytest.approx(part.dense_params, rel=0.1)
  assert curves.untrained.test['auc'] < curves.dense.test['auc']


def test_gradients_choose_other_weights_than_sizes_do(run):
  subject = pruning.open_subject(run, 'density')
  by_size = pruning.keep_largest(subject, pruning.scores_by_size(subject), 0.3)
  by_gradient = pruning.keep_largest(subject, pruning.scores_by_gradient(subject), 0.3)
  own, other = (masks['layer_1']['kernel'] for masks in (by_size, by_gradient))
  assert 0.1 < np.mean(own == other) < 0.99


def test_a_summary_over_seeds_has_paired_intervals(curves, tmp_path):
  rng = np.random.default_rng(0)

  def other_seed(measured):
    noise_ExT = rng.normal(0, 0.01, measured.logits_ExT.shape).astype(np.float32)
    return measured._replace(logits_ExT=measured.logits_ExT + noise_ExT)

  points = {
    curve: [point._replace(measured=other_seed(point.measured)) for point in own]
    for curve, own in curves.points.items()
  }
  other = curves._replace(dense=other_seed(curves.dense), points=points)
  found = density_numbers.summary([curves, other])
  point = found['curves']['magnitude'][1]
  change = point['against_dense']['auc']
  assert change['interval'][0] < change['value'] < change['interval'][1]
  ratio = point['auc_ratio']['value']
  auc = found['dense']['test']['auc']
  assert (ratio - 1) * auc == pytest.approx(change['value'])
  above_half = (point['auc_above_half_ratio']['value'] - 1) * (auc - 0.5)
  assert above_half == pytest.approx(change['value'])
  assert point['against_small']['logloss']['interval']
  assert 'against_small' not in found['curves']['magnitude'][0]
  assert (
    density_numbers.summary([curves])['curves']['magnitude'][1]['auc_ratio']['interval'] is None
  )

  relabelled = other._replace(label_ExT=1 - other.label_ExT)
  with pytest.raises(ValueError, match='not measured on the same test rows'):
    density_numbers.summary([curves, relabelled])
