"""Row 0 learns from a share of the known values, where nothing else trains it."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.embedding import unknown

COLUMN = schema_lib.Column('categorical', 4, True, 0, False)
SPLIT = schema_lib.Split(1000, (3,), ())
IDS_BxF = np.tile(np.array([[1, 6, 11, 15]], np.int32), (20_000, 1))
WEIGHT_B = np.append(np.ones(19_900, np.float32), np.zeros(100, np.float32))  # 100 rows of padding


def _schema(*rare):
  """Three fields of five rows with so many rare training values, and a numeric one."""
  fields = [schema_lib.Field(f'f{i}', 'categorical', 5) for i in range(3)]
  columns = {f'f{i}': dataclasses.replace(COLUMN, unknown={'train': n}) for i, n in enumerate(rare)}
  return schema_lib.FeatureSchema(
    (*fields, schema_lib.Field('n', 'numeric', 1)),
    ('y',),
    None,
    {'train': SPLIT},
    '',
    {},
    columns=columns | {'n': dataclasses.replace(COLUMN, treatment='value')} if rare else {},
  )


@pytest.mark.parametrize(
  'rare, share, rows',
  [
    ((0, 9, 10), 0.01, [0, 5, -1, -1]),
    ((0, 500, 20), 0.01, [0, -1, -1, -1]),
    ((10, 10, 10), 0.01, None),
    ((0, 0, 0), 0.0, None),
    ((), 0.01, None),
  ],
)
def test_which_rows(rare, share, rows):
  found = unknown.untrained_rows(_schema(*rare), share)
  assert (found is None) == (rows is None) and (rows is None or found.tolist() == rows)


def test_drop():
  row_F = np.array([0, 5, -1, -1], np.int32)

  def draw(seed):
    return np.asarray(unknown.drop(IDS_BxF, WEIGHT_B, row_F, 0.1, jax.random.key(seed)))

  dropped_BxF = draw(0) != IDS_BxF
  assert (draw(0)[dropped_BxF[:, 0], 0] == 0).all() and (draw(0)[dropped_BxF[:, 1], 1] == 5).all()
  np.testing.assert_allclose(dropped_BxF.mean(0), [0.1, 0.1, 0, 0], atol=0.01)
  assert (draw(0) == draw(0)).all() and not (draw(0) == draw(1)).all()
  assert abs(np.mean(dropped_BxF[:, 0] & dropped_BxF[:, 1]) - 0.01) < 0.005  # each field by itself
  assert not dropped_BxF[19_900:].any()
  assert unknown.drop(IDS_BxF, WEIGHT_B, None, 0.1, jax.random.key(0)) is IDS_BxF


@pytest.mark.parametrize('share', [0.0, 0.5])
def test_row_zero_learns_in_a_step(share):
  schema = dataclasses.replace(_schema(0, 0, 0), fields=_schema(0, 0, 0).fields[:3])
  config = settings.make(
    'dense_mlp', {'width': 4, 'depth': 1, 'batch_size': 64, 'unknown_share': share}
  )
  run = train.program(config, schema)
  state = train.init(run, schema)
  label_BxT = (np.arange(64) % 2).astype(np.float32)[:, None]
  batch = {'ids_BxF': IDS_BxF[:64, :3], 'label_BxT': label_BxT, 'weight_B': np.ones(64, np.float32)}
  after, _ = jax.jit(functools.partial(train.train_step, run))(state, train.zero_sums(), batch)
  changed_R = (np.asarray(after.table.rows_RxD) != np.asarray(state.table.rows_RxD)).any(1)
  assert changed_R[[0, 5, 10]].all() == changed_R[[0, 5, 10]].any() == (share > 0)
