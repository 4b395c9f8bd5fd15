"""Every picture draws, without a warning, from what its analysis returned, by way of JSON."""

import io
import json

import numpy as np
import pytest

from rec_sparse.analysis import embedding_collapse
from rec_sparse.analysis import ics_dynamics
from rec_sparse.analysis import implicit_sparsity
from rec_sparse.analysis import pictures
from rec_sparse.analysis import redundancy_pictures
from rec_sparse.analysis import units
from rec_sparse.analysis import view_diversity

RNG = np.random.default_rng(0)
WEIGHTS = {'layer_0': RNG.normal(size=(20, 8)), 'layer_1': np.zeros((8, 1))}
ARRAYS = RNG.normal(size=(3, 8, 16)), np.full((3, 2), 0.1), np.ones((3, 8))
SNAPSHOT = ics_dynamics.network({'filter_0': ARRAYS, 'filter_1': ARRAYS})
ONE_VIEW = {'filter_0': view_diversity.projections(RNG.normal(size=(1, 8, 4)))}
PROJECTIONS = {
  f'filter_{i}': view_diversity.projections(RNG.normal(size=(5, 8, 4))) for i in range(2)
}
FILTERS = {'layer_0': view_diversity.filters(np.array([[0, 1], [1, 2]]), 4)}
TABLE = np.concatenate([RNG.normal(size=(13, 4)), np.zeros((3, 4))])
UNITS_RANK = {'entropy_rank': 3.0, 'abundance': 2.0}
FIELDS = embedding_collapse.fields(TABLE, ['a', 'b', 'zero'], [0, 12, 13], [12, 1, 3])

UNITS = {'layer_0': units.layer(RNG.normal(size=(5, 90)), np.arange(90.0)[:, None] % 2)}
RANKS = {'layer_0': {'possible': 8, **dict.fromkeys(('now', 'at_init'), UNITS_RANK)}}


def density_of(auc, interval):
  """A curve of two points."""
  change = {'value': -0.01, 'interval': interval}
  point = {
    'dense_params': 50,
    'test': {'logloss': 0.3, 'auc': auc},
    'against_dense': {'logloss': change, 'auc': auc and change},
  }
  curves = {'magnitude': [point | {'dense_params': 100}, point], 'small_dense': []}
  whole = {'test': {'logloss': 0.29, 'auc': auc}}
  return {'seeds': 1 + bool(interval), 'dense_params': 100, 'dense': whole, 'curves': curves}


DENSITY = density_of(0.8, (-0.02, 0.0))
NO_AUC = density_of(None, None)


@pytest.mark.parametrize(
  'draw, found',
  [
    (pictures.implicit_sparsity, [implicit_sparsity.network(WEIGHTS)]),
    (pictures.implicit_sparsity, [implicit_sparsity.network(WEIGHTS, {'layer_0': 1.0})] * 2),
    (pictures.ics, [SNAPSHOT]),
    (pictures.ics_over_steps, [ics_dynamics.over_steps([0, 50], [SNAPSHOT] * 2)]),
    (pictures.views, [PROJECTIONS, 'cosine']),
    (pictures.views, [PROJECTIONS, 'subspace_overlap']),
    (pictures.views, [ONE_VIEW, 'cosine']),
    (pictures.views, [FILTERS, 'jaccard']),
    (pictures.embeddings, [FIELDS]),
    (redundancy_pictures.units, [UNITS, UNITS, RANKS]),
    (redundancy_pictures.density, [DENSITY]),
    (redundancy_pictures.density, [NO_AUC]),
  ],
)
def test_draws(draw, found):
  out = io.BytesIO()
  draw(*json.loads(json.dumps(found))).savefig(out, format='png')
  assert len(out.getvalue()) > 5000
