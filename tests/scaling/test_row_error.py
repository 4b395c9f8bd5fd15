"""The error over test rows: against planted losses, and from the files of a study."""

import fake_study
import numpy as np
import pytest

from rec_sparse.scaling import records
from rec_sparse.scaling import row_error
from rec_sparse.scaling.student import slope_weights

ROWS = 4000


def make_rungs(losses, seeds):
  """Rungs whose metrics are the means of loss_SxB."""
  return [
    fake_study.make_rung('a', np.exp(k), loss_SxB.mean(1), width=k, seeds=own)
    for k, (loss_SxB, own) in enumerate(zip(losses, seeds, strict=True))
  ]


def measure(losses, seeds):
  return row_error.measure(
    make_rungs(losses, seeds), ROWS, lambda start, stop: [x[:, start:stop] for x in losses]
  )


def test_without_seeds_effects_it_is_the_covariance_of_the_mean(monkeypatch):
  monkeypatch.setattr(row_error, 'CHUNK', 1000)
  rng = np.random.default_rng(0)
  shared_E = rng.normal(size=ROWS)
  losses = [np.tile(shared_E + scale * rng.normal(size=ROWS), (3, 1)) for scale in (0.1, 0.2, 0.3)]
  found = measure(losses, [(0, 1, 2)] * 3)
  np.testing.assert_allclose(found.covariance_PxP, np.cov([x[0] for x in losses]) / ROWS, rtol=1e-6)
  rungs = make_rungs(losses, [(0, 1, 2)] * 3)
  weights = slope_weights(np.arange(3.0))
  slope_E = weights @ [x[0] for x in losses]
  assert found.of_contrast(rungs, weights) == pytest.approx(slope_E.std(ddof=1) / np.sqrt(ROWS))
  np.testing.assert_array_equal(found.of_means(rungs[1:]), found.covariance_PxP[1:, 1:])


@pytest.mark.parametrize('seeds', [[(0, 1, 2, 3)] * 2, [(0, 1, 2, 3), (0, 2, 5)]])
def test_what_row_and_seed_do_together_is_left_to_the_seeds(seeds):
  """Noise of every row and seed apart: it is in the spread over seeds, and must not count twice."""
  rng = np.random.default_rng(1)
  rows_E = rng.normal(size=ROWS)
  together = {seed: rng.normal(size=ROWS) for seed in range(6)}  # the same at both rungs
  losses = [
    np.array([size * 0.1 * rows_E + together[seed] for seed in own])
    for size, own in zip((1, 2), seeds, strict=True)
  ]
  found = measure(losses, seeds).covariance_PxP * ROWS
  np.testing.assert_allclose(found, [[0.01, 0.02], [0.02, 0.04]], atol=0.03)


def test_read_from_a_study(tmp_path):
  directory = fake_study.write_study(
    tmp_path / 's', {'a': fake_study.power_law()}, widths=(16, 32), seeds=2
  )
  study = records.read_results(directory)[0]
  rungs = records.rungs_by_arm(study)['a']
  assert row_error.read_row_error(study, rungs) is None

  rng = np.random.default_rng(2)
  label_E = rng.random(500) < 0.3
  (directory / 'logits').mkdir()
  np.save(directory / 'logits' / 'labels.npy', label_E[:, None].astype(np.uint8))
  logits = {}
  for rung in rungs:
    for run_id in rung.run_ids:
      logits[run_id] = rng.normal(size=500).astype(np.float32)
      np.save(directory / 'logits' / f'{run_id}.npy', logits[run_id][:, None])
  found = row_error.read_row_error(study, rungs)
  assert found.rows == 500 and found.place == {('a', rung.name): k for k, rung in enumerate(rungs)}
  by_hand = [
    [np.logaddexp(0, np.where(label_E, -logits[i], logits[i])) for i in rung.run_ids]
    for rung in rungs
  ]
  mean_PxB = np.mean(by_hand, 1)
  together = [np.var(loss, axis=0, ddof=1).mean() / 2 for loss in by_hand]
  expected = (mean_PxB.var(1, ddof=1) - together) / 500
  np.testing.assert_allclose(np.diag(found.covariance_PxP), expected, rtol=0.02)

  path = directory / 'logits' / f'{rungs[0].run_ids[0]}.npy'
  np.save(path, np.zeros((499, 1)))
  with pytest.raises(ValueError, match=r'\(499, 1\), expected one row for each of 500 test rows'):
    row_error.read_row_error(study, rungs)
  path.write_bytes(b'no array')
  with pytest.raises(ValueError, match=f'{path.name}: damaged'):
    row_error.read_row_error(study, rungs)
