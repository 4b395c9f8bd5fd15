"""The rule that splits dense parameters, case by case."""

import jax
from jax import P
import numpy as np
import pytest

from rec_sparse import dense_placement
from rec_sparse.embedding import placement


def spec(module, name, shape, model=4):
  tree = {'mu': {module: {name: np.zeros(shape)}}}  # as the optimizer's moments have it
  return jax.tree.leaves(dense_placement.shardings(tree, placement.make_mesh(2, model)))[0].spec


@pytest.mark.parametrize(
  'module, name, shape, want',
  [
    ('layer_0', 'kernel', (8, 3, 5), P('model')),  # views
    ('layer_0', 'bias', (8, 5), P('model')),
    ('filter_0', 'alpha', (8, 5, 3), P('model')),
    ('layer_0', 'kernel', (6, 400, 400), P()),  # 6 views do not divide over 4 devices
    ('layer_0', 'kernel', (100, 400), P(None, 'model')),  # outputs
    ('layer_0', 'kernel', (400, 102), P()),
    ('layer_0', 'kernel', (16, 16), P()),  # small
    ('layer_0', 'bias', (2**16,), P()),
    ('norm', 'scale', (40,), P()),
    ('adam', 'count', (), P()),
  ],
)
def test_what_is_split_and_how(module, name, shape, want):
  assert spec(module, name, shape) == want


def test_nothing_is_split_over_one_device():
  assert spec('layer_0', 'kernel', (8, 400, 400), model=1) == P()
