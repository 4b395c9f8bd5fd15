"""Logical order is what leaves the devices, whatever their number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse.embedding import placement
from rec_sparse.runs import hlo

MESHES = [(8, 1), (4, 2), (3, 2), (5, 1), (1, 1)]


def ragged(rows, *trailing):
  return (
    np.arange(rows * int(np.prod(trailing, dtype=int)), dtype=np.float32).reshape(rows, *trailing)
    + 1
  )


def place(host_RxX, mesh):
  """Shard after shard, each with every S-th row, and padding of zeros."""
  padding = placement.padded_rows(len(host_RxX), mesh.size) - len(host_RxX)
  padded_RxX = np.pad(host_RxX, [(0, padding), *[(0, 0)] * (host_RxX.ndim - 1)])
  by_shard = [padded_RxX[shard :: mesh.size] for shard in range(mesh.size)]
  return jax.device_put(np.concatenate(by_shard), placement.sharding(mesh))


@pytest.mark.parametrize(
  ('shape', 'rows', 'trailing'),
  [(shape, 4099, (3,)) for shape in MESHES] + [((4, 2), 1, ()), ((8, 1), 8192, ())],
)
def test_round_trips(shape, trailing, rows):
  mesh, host = placement.make_mesh(*shape), ragged(rows, *trailing)
  stored = place(host, mesh)
  logical = placement.to_logical(stored, mesh)
  np.testing.assert_array_equal(np.asarray(logical)[:rows], host)
  assert not np.asarray(logical)[rows:].any()
  np.testing.assert_array_equal(placement.from_logical(logical, mesh), stored)


def test_row_r_lives_on_shard_r_mod_s():
  mesh = placement.make_mesh(4, 2)
  stored = place(ragged(5000), mesh)
  for shard in stored.addressable_shards:
    position = shard.index[0].start // shard.data.shape[0]
    np.testing.assert_array_equal(shard.data[:600], np.arange(600) * 8 + position + 1)


def test_padding_is_less_than_the_square_of_the_device_count():
  found = [placement.padded_rows(5000, shards) for shards in (1, 2, 3, 8, 64)]
  assert found == [5000, 5000, 5004, 5056, 8192]
  with pytest.raises(ValueError, match='do not fit int32'):
    placement.padded_rows(2**31 - 1, 2)


def test_a_table_moves_between_device_counts_without_the_host():
  eight, four = placement.make_mesh(4, 2), placement.make_mesh(4, 1)
  host = ragged(5000, 2)
  logical = placement.to_logical(place(host, eight), eight)
  moved = placement.from_logical(jax.device_put(logical, placement.sharding(four)), four)
  np.testing.assert_array_equal(np.asarray(placement.to_logical(moved, four))[:5000], host)


@pytest.mark.parametrize('move', [placement.to_logical, placement.from_logical])
def test_no_device_holds_the_table(move):
  mesh, rows, dim = placement.make_mesh(4, 2), 2**16, 4
  table = jax.ShapeDtypeStruct((rows, dim), jnp.float32, sharding=placement.sharding(mesh))
  compiled = jax.jit(lambda x: move(x, mesh)).lower(table).compile()
  assert max(one.elements for one in hlo.collectives(compiled.as_text())) <= rows * dim // 8
  assert compiled.memory_analysis().temp_size_in_bytes <= 3 * rows * dim * 4 // 8
