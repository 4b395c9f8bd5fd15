"""Every analysis on matrices whose answer is known, and that its dict is JSON."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse.analysis import embedding_collapse
from rec_sparse.analysis import ics_dynamics
from rec_sparse.analysis import implicit_sparsity
from rec_sparse.analysis import spectrum
from rec_sparse.analysis import view_diversity
from rec_sparse.sparsity import gates


@pytest.fixture
def rng():
  return np.random.default_rng(0)


def orthonormal(rng, n, k):
  return np.linalg.qr(rng.normal(size=(n, k)))[0]


def test_tall_matrices_have_the_singular_values_of_svd(rng, monkeypatch):
  monkeypatch.setattr(spectrum, 'ROWS_AT_ONCE', 100)
  tall = rng.normal(size=(1234, 7)) * 10.0 ** -np.arange(7)
  np.testing.assert_allclose(
    spectrum.singular_values(tall), np.linalg.svd(tall, compute_uv=False), rtol=1e-3
  )


def test_ranks_of_known_spectra():
  for rank in (spectrum.entropy_rank, spectrum.stable_rank, spectrum.abundance):
    assert rank([2.0] * 5 + [0.0] * 3) == pytest.approx(5)
    assert rank([0.0, 0.0]) == 0.0
  assert spectrum.stable_rank([2.0, 1.0]) == pytest.approx(1.25)
  assert spectrum.abundance([2.0, 1.0]) == pytest.approx(1.5)
  assert spectrum.entropy_rank([3.0, 1.0]) == pytest.approx(4 / 3**0.75)


def test_implicit_sparsity_of_a_layer_that_reads_few_inputs(rng):
  weight_NxH = 1e-4 * np.sign(rng.normal(size=(100, 50)))
  weight_NxH[:4] = 1.0
  found = implicit_sparsity.layer(weight_NxH, init_std=0.5)
  assert (
    found['below_1e-3']
    == found['below_1e-2_of_max']
    == found['below_1e-2_of_init_std']
    == pytest.approx(0.96)
  )
  assert (
    found['inputs_holding_80_percent_absolute']
    == found['inputs_holding_80_percent_squared']
    == 0.04
  )
  assert found['stable_rank'] == pytest.approx(1, abs=1e-3)
  assert found['mass_curve_absolute'][4] > 0.99


def test_implicit_sparsity_does_not_follow_the_scale_but_for_the_papers_threshold(rng):
  weight_NxH = rng.normal(0, 0.05, (64, 32))
  a, b = (
    implicit_sparsity.layer(weight_NxH, 0.05),
    implicit_sparsity.layer(1e-3 * weight_NxH, 0.05e-3),
  )
  assert b['below_1e-3'] == 1.0 and a['below_1e-3'] < 0.05
  for name in a.keys() - {'below_1e-3', 'std', 'max', 'singular_values'}:
    assert a[name] == pytest.approx(b[name])


def test_equal_inputs_hold_equal_shares():
  assert implicit_sparsity.inputs_holding(np.ones(5)) == pytest.approx(0.8)
  assert implicit_sparsity.inputs_holding(np.array([1.0, 8.0, 1.0])) == pytest.approx(1 / 3)
  assert implicit_sparsity.inputs_holding(np.zeros(3)) == 0.0
  np.testing.assert_allclose(implicit_sparsity.mass_curve(np.ones(7)), np.linspace(0, 1, 101))
  found = implicit_sparsity.network({'a': np.eye(6), 'b': np.zeros((3, 4))}, {'a': 1.0})
  assert found['a']['entropy_rank'] == pytest.approx(6) and found['b']['stable_rank'] == 0
  assert found['b']['below_1e-2_of_init_std'] is None
  json.dumps(found, allow_nan=False)


def test_ics_zeros_come_from_relu_and_from_the_competition(rng):
  z_VxKxB = rng.normal(size=(2, 128, 512)).astype(np.float32)
  alpha_VxI = np.array([[0.0] * 5, [0.5] * 5], np.float32)
  # gamma must not count as a zero
  found = ics_dynamics.layer(z_VxKxB, alpha_VxI, np.zeros((2, 128), np.float32))
  np.testing.assert_allclose(found['zeros_of_relu'], 0.5, atol=0.01)
  np.testing.assert_allclose(found['zeros'], [0.5, 0.75], atol=0.01)
  assert found['thresholds'][0] == [0.0] * 5
  assert np.all(np.diff(found['thresholds'][1]) > 0)
  assert found['threshold_over_std'][1] == pytest.approx(found['thresholds'][1][-1], rel=0.02)


def test_ics_dead_dimensions_and_alpha_per_dimension(rng):
  z_VxKxB = np.abs(rng.normal(size=(1, 10, 64))).astype(np.float32)
  z_VxKxB[:, :3] = -1
  found = ics_dynamics.layer(
    z_VxKxB, np.full((1, 10, 2), 0.01, np.float32), np.ones((1, 10), np.float32)
  )
  assert found['dead_dimensions'] == pytest.approx([0.3])
  np.testing.assert_allclose(found['alpha'], [[0.01, 0.01]], rtol=1e-6)


@pytest.mark.parametrize('gate', gates.GATES)
def test_zeros_and_threshold_are_those_of_the_gate(rng, gate):
  """Where there is a threshold, the gate is ReLU(z - tau): its output and its zeros follow."""
  z_VxKxB, alpha_VxI = (
    rng.normal(size=(2, 8, 1)).astype(np.float32),
    np.full((2, 3), 0.3, np.float32),
  )
  gamma_VxK = np.full((2, 8), 7.0, np.float32)
  found = ics_dynamics.layer(z_VxKxB, alpha_VxI, gamma_VxK, gate)
  out = (
    np.asarray(
      gates.GATES[gate](
        jnp.asarray(z_VxKxB),
        gates.Params(jnp.asarray(alpha_VxI), jnp.asarray(gamma_VxK)),
        gates.Options(),
        None,
      )
    )
    / 7
  )
  np.testing.assert_allclose(found['zeros'], np.mean(out == 0, (1, 2)))
  np.testing.assert_allclose(found['mean_output'], np.mean(np.abs(out), (1, 2)), rtol=1e-5)
  has_threshold = gate in ('ics', 'one_iteration', 'relu', 'gumbel', 'soft_threshold', 'sparsemax')
  assert (
    (found['thresholds'] is not None) == (found['threshold_over_std'] is not None) == has_threshold
  )
  if has_threshold:
    tau_Vx1x1 = np.array(found['thresholds'])[:, -1, None, None]
    np.testing.assert_allclose(np.maximum(z_VxKxB - tau_Vx1x1, 0), out, atol=1e-5)
  uses = {'ics': (2, 3), 'one_iteration': (2, 1), 'soft_threshold': (2, 3)}
  assert found['alpha'] is None if gate not in uses else np.shape(found['alpha']) == uses[gate]


def test_ics_over_steps_is_a_series_per_layer(rng):
  arrays = rng.normal(size=(3, 8, 16)), np.full((3, 2), 0.1), np.ones((3, 8))
  snapshot = ics_dynamics.network({'filter_0': arrays, 'filter_1': arrays})
  found = ics_dynamics.over_steps([0, 100], [snapshot, snapshot])
  assert np.shape(found['layers']['filter_1']['thresholds']) == (2, 3, 2) and found['steps'] == [
    0,
    100,
  ]
  json.dumps(found, allow_nan=False)


def test_views_that_are_equal_orthogonal_or_permuted(rng):
  basis_NxM = orthonormal(rng, 32, 16)
  first, second = basis_NxM[:, :8], basis_NxM[:, 8:]
  found = view_diversity.projections(np.stack([first, 2 * first, second, first[:, ::-1]]))
  cosine, overlap = (
    np.array(found['cosine']['matrix']),
    np.array(found['subspace_overlap']['matrix']),
  )
  np.testing.assert_allclose(cosine[0, :3], [1, 1, 0], atol=1e-12)
  # a permutation reads the same inputs
  np.testing.assert_allclose(overlap[0], [1, 1, 0, 1], atol=1e-12)
  assert abs(cosine[0, 3]) < 0.5
  assert (
    found['cosine']['max'] == pytest.approx(1) and found['subspace_overlap']['expected'] == 0.25
  )
  json.dumps(found, allow_nan=False)


def test_random_views_overlap_as_expected(rng):
  found = view_diversity.projections(rng.normal(size=(6, 200, 50)))
  assert found['subspace_overlap']['mean'] == pytest.approx(0.25, abs=0.01)
  assert abs(found['cosine']['mean']) < 0.01


def test_one_view_has_no_pair(rng):
  found = view_diversity.projections(rng.normal(size=(1, 9, 4)))
  assert found['cosine']['mean'] is None and found['cosine']['matrix'] == [[pytest.approx(1)]]


def test_overlap_of_static_filters():
  found = view_diversity.filters(np.array([[0, 1, 2, 3], [2, 3, 4, 5]]), inputs=8)
  assert found['jaccard']['matrix'] == [[1, pytest.approx(1 / 3)], [pytest.approx(1 / 3), 1]]
  assert found['coverage']['share'] == 0.75 and found['reads_per_input'] == {'max': 2, 'mean': 1.0}
  json.dumps(found, allow_nan=False)


def test_expected_overlap_is_that_of_random_filters(rng):
  assert view_diversity.expected_jaccard(10, 10) == 1.0
  assert view_diversity.expected_jaccard(3, 2) == pytest.approx(1 / 3 + 2 / 3 * (1 / 3) * 1.0)
  draws = np.stack([rng.permutation(60)[:24] for _ in range(400)])
  found = view_diversity.filters(draws, 60)
  assert found['jaccard']['mean'] == pytest.approx(found['jaccard']['expected'], rel=0.01)
  assert 0 < view_diversity.expected_jaccard(4096, 512) < 512 / 4096


def test_information_abundance_of_collapsed_and_full_fields(rng):
  full = 3 * orthonormal(rng, 50, 8)
  collapsed = np.outer(rng.normal(size=40), rng.normal(size=8))
  padding = np.full((6, 8), 1e9)
  table_RxD = np.concatenate([full, collapsed, np.ones((1, 8)), padding])
  found = embedding_collapse.fields(
    table_RxD, ['full', 'collapsed', 'number'], [0, 50, 90], [50, 40, 1]
  )
  assert found['full']['abundance'] == pytest.approx(8) and found['full'][
    'abundance_share'
  ] == pytest.approx(1)
  assert found['collapsed']['abundance'] == pytest.approx(1, abs=1e-6)
  assert found['number'] == {
    'rows': 1,
    'abundance': 1.0,
    'abundance_share': 1.0,
    'entropy_rank': 1.0,
    'singular_values': [pytest.approx(8**0.5)],
  }
  json.dumps(found, allow_nan=False)
