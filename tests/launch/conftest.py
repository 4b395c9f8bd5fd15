"""A small encoded data set for the programs: six Zipf fields, and a label that pairs decide."""

import pathlib

import numpy as np
import pytest

from data_pipelines import blocks
from rec_sparse import schema as schema_lib

FIELDS, VOCAB = 6, 50
# rows of each field; all but the last are tiny on several devices
SIZES = (
  *(VOCAB,) * (FIELDS - 1),
  300,
)


@pytest.fixture(scope='session')
def toy(tmp_path_factory) -> pathlib.Path:
  """A dataset directory with groups, 3,000 / 700 / 700 rows, in several blocks."""
  return write(tmp_path_factory.mktemp('toy'))


@pytest.fixture(scope='session')
def one_class(tmp_path_factory) -> pathlib.Path:
  """The same, but nobody clicked in valid and test."""
  return write(tmp_path_factory.mktemp('one_class'), clicked=('train',))


@pytest.fixture(scope='session')
def two_tasks(tmp_path_factory) -> pathlib.Path:
  """The same rows, of which some were also bought."""
  return write(tmp_path_factory.mktemp('two_tasks'), tasks=('label', 'buy'))


def write(
  directory: pathlib.Path,
  clicked: tuple[str, ...] = schema_lib.SPLITS,
  tasks: tuple[str, ...] = ('label',),
) -> pathlib.Path:
  rng = np.random.default_rng(0)
  weight = rng.normal(size=(FIELDS, VOCAB))
  dtype = blocks.record_dtype(FIELDS, tasks=len(tasks), numeric=0, grouped=True)
  splits = {}
  for name, rows in (('train', 3000), ('valid', 700), ('test', 700)):
    ids_BxF = (rng.zipf(1.5, (rows, FIELDS)) % VOCAB).astype(np.int32)
    part = weight[np.arange(FIELDS), ids_BxF]
    logit_B = 2 * part[:, 0] * part[:, 1] + part[:, 2] - 1
    label_B = (rng.random(rows) < 1 / (1 + np.exp(-logit_B))) & (name in clicked)
    bought_B = label_B & (ids_BxF[:, 3] % 3 == 1)
    writer = blocks.BlockWriter(directory, name, dtype, block_rows=1024)
    writer.append(
      ids_BxF + VOCAB * np.arange(FIELDS, dtype=np.int32),
      np.stack((label_B, bought_B), 1)[:, : len(tasks)].astype(np.uint8),
      group_B=ids_BxF[:, 0].copy(),
    )
    splits[name] = writer.finish()
  fields = tuple(
    schema_lib.Field(f'field_{i}', 'categorical', size) for i, size in enumerate(SIZES)
  )
  schema_lib.save_schema(
    schema_lib.FeatureSchema(
      fields, tasks, 'field_0', splits, 'toy', {}, schema_lib.Teacher(0.4, 0.8)
    ),
    directory,
  )
  return directory
