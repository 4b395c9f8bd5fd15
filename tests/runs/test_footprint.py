"""What a compiler says of a step before there is a device: memory, collectives, what to change."""

import types

import jax
import numpy as np
import pytest

from rec_sparse import settings
from rec_sparse import train
from rec_sparse.embedding import placement
from rec_sparse.runs import chips
from rec_sparse.runs import footprint
from rec_sparse.runs import hlo

ROWS, FIELDS = 4000, 5


def config(**overrides):
  return settings.make('dense_mlp', {'width': 16, 'embedding_dim': 8, 'batch_size': 64} | overrides)


def bytes_of(tree):
  return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize('devices', [1, 8])
def test_a_state_is_counted_as_it_lies_on_a_device(devices):
  mesh = placement.make_mesh(devices)
  schema = footprint.schema_of(ROWS, FIELDS)
  found = footprint.check(train.program(config(), schema, mesh), schema, None, 10**9)
  assert found.fits and found.modelled_seconds is None

  state = train.init(train.program(config(), schema, mesh), schema)
  assert found.table_bytes == bytes_of(state.table)
  assert found.dense_bytes == bytes_of(state._replace(table=None))
  assert found.argument_bytes >= found.table_bytes + found.dense_bytes
  assert found.needed_bytes >= found.argument_bytes + found.temp_bytes
  assert bool(found.collectives) == (devices > 1)


def test_what_does_not_fit_says_what_to_change():
  schema = footprint.schema_of(ROWS, FIELDS)
  found = footprint.count(config(), schema, 1, 100_000)
  assert found.fits is False and found.needed_bytes > 100_000
  assert 'table_optimizer=adagrad saves' in found.advice and 'twice the devices' in found.advice
  halved = footprint.count(config(), schema, 2, 100_000)
  assert halved.table_bytes == -(-found.table_bytes // 2)


def test_topologies_by_name():
  assert chips.parse('v5p:4x4x4') == ('v5p', 64)
  assert chips.parse('h100:8') == ('h100', 8)
  assert chips.parse('tpu7x:2x2x1') == ('tpu7x', 8)
  with pytest.raises(ValueError, match='--topology=v9: expected one of v4, v5e'):
    chips.parse('v9')


def test_collectives_are_counted_in_bytes():
  mesh = placement.make_mesh(8)
  spread = jax.NamedSharding(mesh, jax.P('data'))
  x_XxD = jax.ShapeDtypeStruct((64, 4), np.float32, sharding=spread)
  whole = jax.NamedSharding(mesh, jax.P())
  gather = jax.jit(lambda x_XxD: x_XxD, out_shardings=whole)
  compiled = gather.lower(x_XxD).compile()
  gathered = [one for one in hlo.collectives(compiled.as_text()) if one.name == 'all-gather']
  assert [one.size for one in gathered] == [64 * 4 * 4]


def test_tables_lie_as_suits_the_devices():
  here = jax.devices()[0]
  assert chips.tables(here, None, None) == ('rows', 'reduce_scatter')
  tpu = types.SimpleNamespace(platform='tpu')
  assert chips.tables(tpu, None, None) == ('packed', 'all_to_all')
  assert chips.tables(tpu, 'rows', None) == ('rows', 'all_to_all')
  assert chips.tables(tpu, None, 'reduce_scatter') == ('packed', 'reduce_scatter')
