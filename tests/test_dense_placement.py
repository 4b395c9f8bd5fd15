"""How marks and sizes decide what is split, case by case."""

from jax import P
import numpy as np
import pytest

from rec_sparse import dense_placement
from rec_sparse.embedding import placement
from rec_sparse.models.marks import Mark


def spec(axes, shape, model=4):
  tree = {'layer': {'kernel': np.zeros(shape)}}
  marks = {'layer': {'kernel': Mark(axes)}}
  placed = dense_placement.shardings(tree, marks, placement.make_mesh(2, model))
  return placed['layer']['kernel'].spec


@pytest.mark.parametrize(
  'axes, shape, want',
  [
    (('views',), (8, 3, 5), P('model')),
    (('views',), (8, 5), P('model')),
    (('views',), (6, 400, 400), P()),  # 6 views do not divide over 4 devices
    ((None, 'outputs'), (100, 400), P(None, 'model')),
    ((None, 'outputs'), (400, 102), P()),
    ((None, 'outputs'), (16, 16), P()),  # small
    ((), (2**16,), P()),
  ],
)
def test_what_is_split_and_how(axes, shape, want):
  assert spec(axes, shape) == want


def test_nothing_is_split_over_one_device():
  assert spec(('views',), (8, 400, 400), model=1) == P()
