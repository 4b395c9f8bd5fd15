"""Rows of several widths in one table: zeros that stay, and no other bit moved."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.embedding import kept_dims
from rec_sparse.embedding import placement
from rec_sparse.embedding import storage
from rec_sparse.embedding import table as table_lib

SIZES = (40, 7)
DIM = 4
FIELDS = tuple(schema_lib.Field(f'field_{i}', 'categorical', n) for i, n in enumerate(SIZES))
PLAIN = schema_lib.FeatureSchema(FIELDS, ('label',), None, {}, '', {})


def with_runs(*runs):
  return dataclasses.replace(PLAIN, dim_runs=tuple(schema_lib.DimRun(*run) for run in runs))


SEVERAL = with_runs((3, '1111'), (20, '0110'), (17, '0000'), (7, '0001'))


def kept(schema):
  """kept_RxD, by the text of the runs alone."""
  return np.array(
    [[c == '1' for c in run.kept] for run in schema.dim_runs for _ in range(run.rows)]
  )


def trained(schema, devices=1, steps=3, start_RxD=None, **overrides):
  """(program, state) after a few steps on random batches, from the rows `start_RxD` if given."""
  given = {'embedding_dim': DIM, 'batch_size': 32, 'learning_rate': 0.01}
  run = train.program(
    settings.make('fm', given | overrides),
    schema,
    placement.make_mesh(devices),
  )
  state = train.init(run, schema)
  if start_RxD is not None:
    state = state._replace(table=state.table._replace(rows_RxD=jnp.asarray(start_RxD)))
  step = jax.jit(functools.partial(train.train_step, run))
  rng = np.random.default_rng(0)
  for _ in range(steps):
    ids_BxF = (rng.random((32, 2)) * SIZES + (0, SIZES[0])).astype(np.int32)
    label_BxT = rng.integers(0, 2, (32, 1)).astype(np.float32)
    weight_B = np.ones(32, np.float32)
    batch = {'ids_BxF': ids_BxF, 'label_BxT': label_BxT, 'weight_B': weight_B}
    state, _ = step(state, train.zero_sums(), batch)
  return run, state


def rows_of(run, state):
  table = table_lib.to_logical(run.table, state.table)
  return np.asarray(storage.decode(table.rows_RxD), np.float32)[: sum(SIZES)]


def test_dimensions_that_rows_lack_stay_exact_zeros():
  """Rounded at random, with L2 on all rows, over devices of which some hold rows of tiny fields."""
  run, state = trained(SEVERAL, 8, table_dtype='bfloat16', table_l2=1e-3, learning_rate=0.1)
  found = rows_of(run, state)[:, :DIM]
  assert not found[~kept(SEVERAL)].any() and found[kept(SEVERAL)].all()
  narrower = kept_dims.of_schema(with_runs((47, '0100')), DIM)
  table = kept_dims.cut_placed(narrower, run.table, state.table)
  cut = rows_of(run, state._replace(table=table))
  np.testing.assert_array_equal(cut[:, :DIM], found * (0, 1, 0, 0))
  np.testing.assert_array_equal(cut[:, DIM:], rows_of(run, state)[:, DIM:])
  assert np.abs(found).max() > run.config.embedding_init  # beyond where rows start


def test_all_dimensions_kept_is_the_plain_run_bit_for_bit():
  """Through the product with factors, which are all 1."""
  run, found = trained(with_runs((5, '1111'), (42, '1111')))
  assert run.dims is not None
  _, plain = trained(PLAIN)
  jax.tree.map(np.testing.assert_array_equal, found, plain)


def test_a_dimension_that_is_zero_trains_as_one_that_is_not_there():
  """FM of 4 dimensions of which each row has the same 2, beside FM of 2 from the same rows."""
  start_RxD = np.random.default_rng(1).uniform(-0.1, 0.1, (sum(SIZES), 3)).astype(np.float32)
  _, small = trained(PLAIN, embedding_dim=2, start_RxD=start_RxD)
  wide_RxD = np.insert(start_RxD, [2, 2], 0, axis=1)
  run, found = trained(with_runs((47, '1100')), start_RxD=wide_RxD)
  rows_RxD = rows_of(run, found)
  np.testing.assert_allclose(rows_RxD[:, [0, 1, DIM]], small.table.rows_RxD, rtol=1e-3, atol=1e-5)
  assert not rows_RxD[:, 2:DIM].any()


def test_counts_and_lengths():
  config = settings.make('deepfm', {'embedding_dim': DIM, 'width': 8})
  found = train.counts(config, SEVERAL)['embedding_params']
  assert found == kept(SEVERAL).sum() + 47  # and a first-order weight of each row
  assert train.counts(config, PLAIN)['embedding_params'] == 47 * (DIM + 1)
  with pytest.raises(ValueError, match='embedding_dim=8: the plan of the data set is about 4 dim'):
    train.program(dataclasses.replace(config, embedding_dim=8), SEVERAL)
  ids = np.array([0, 2, 3, 22, 23, 39, 40, 46])
  factor_XxD = kept_dims.factors(kept_dims.of_schema(SEVERAL, DIM), ids)
  np.testing.assert_array_equal(factor_XxD, kept(SEVERAL)[ids])
