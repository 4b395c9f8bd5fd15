"""A small encoded data set with known content, shared by the tests of blocks and feeds."""

import numpy as np
import pytest

from data_pipelines import blocks
from rec_sparse import schema as schema_lib

VOCABS = (5, 300, 40)


def _columns(rows, seed=0, numeric=True):
  """Random rows: three categorical fields, then one numeric field in the last row of the table."""
  rng = np.random.default_rng(seed)
  first_F = np.cumsum([0, *VOCABS])
  ids_BxF = (
    np.stack([rng.integers(0, v, rows) for v in VOCABS] + [np.zeros(rows, int)], axis=1) + first_F
  )
  made = {
    'ids_BxF': ids_BxF.astype(np.int32),
    'label_BxT': rng.integers(0, 2, (rows, 2)).astype(np.uint8),
  }
  if numeric:
    made |= {
      'value_BxA': rng.normal(size=(rows, 1)).astype(np.float32),
      'group_B': rng.integers(0, 9, rows).astype(np.int32),
    }
  else:
    made['ids_BxF'] = made['ids_BxF'][:, :-1]
  return made


def _write(directory, rows, block_rows, numeric=True, chunk=37):
  """Writes `_columns(rows)` as a dataset directory with only a train split; returns its schema."""
  made = _columns(rows, numeric=numeric)
  fields = [schema_lib.Field(f'f{i}', 'categorical', v) for i, v in enumerate(VOCABS)]
  fields += [schema_lib.Field('price', 'numeric', 1)] if numeric else []
  dtype = blocks.record_dtype(len(fields), 2, int(numeric), numeric)
  writer = blocks.BlockWriter(directory, 'train', dtype, block_rows)
  for start in range(0, rows, chunk):
    writer.append(*(column[start : start + chunk] for column in made.values()))
  schema = schema_lib.FeatureSchema(
    fields=tuple(fields),
    tasks=('click', 'buy'),
    group='user' if numeric else None,
    splits={'train': writer.finish()},
    fingerprint='x',
    source={},
  )
  schema_lib.save_schema(schema, directory)
  return schema


@pytest.fixture(
  name='dataset', params=[(1000, 1000), (1000, 128)], ids=['one block', 'eight blocks']
)
def _dataset(tmp_path, request):
  """(directory, schema) of 1,000 rows in one block or in eight."""
  rows, block_rows = request.param
  return tmp_path, _write(tmp_path, rows, block_rows)


@pytest.fixture(name='columns')
def _dataset_columns():
  """What `dataset` holds."""
  return _columns(1000)


@pytest.fixture(name='write_dataset')
def _write_dataset():
  """The function that writes such data sets."""
  return _write
