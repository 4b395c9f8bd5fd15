"""Packed tables against plain rows, their reference: the same rows read, the same rows trained."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse.embedding import optimizers
from rec_sparse.embedding import packed_update
from rec_sparse.embedding import packing
from rec_sparse.embedding import placement
from rec_sparse.embedding import storage
from rec_sparse.embedding import table as table_lib

SIZES, WITH_TINY = (3, 40, 31), (3, 300, 31)
COLUMNS = {'embedding': 10, 'linear': 1}
OPTIMIZERS = {
  'adagrad': functools.partial(optimizers.rowwise_adagrad, widths=tuple(COLUMNS.values())),
  'adam': optimizers.row_adam,
  'sgd': optimizers.row_sgd,
}
BATCH, STEPS = 16, 3


def place(
  layout,
  optimizer='adam',
  dtype='float32',
  shape=(1, 1),
  exchange='reduce_scatter',
  sizes=SIZES,
):
  return table_lib.Placed(
    columns=COLUMNS,
    sizes=sizes,
    dtype=dtype,
    start=1.0,
    optimizer=OPTIMIZERS[optimizer](),
    mesh=placement.make_mesh(*shape),
    exchange=exchange,
    layout=layout,
  )


def start(placed):
  first = functools.partial(table_lib.init, placed, jax.random.key(3), jnp.int32(5))
  where = table_lib.shardings(placed, table_lib.abstract(placed))
  return table_lib.from_logical(placed, jax.jit(first, out_shardings=where)())


def over_data(placed, batch):
  return jax.device_put(batch, jax.NamedSharding(placed.mesh, jax.P('data')))


def logical(placed, table):
  """Rows and moments in logical order, without padding."""
  table = table_lib.to_logical(placed, table)
  arrays = table.rows_RxD, *table.slots.moments
  return [np.asarray(array)[: sum(placed.sizes)] for array in arrays]


def batches(sizes):
  """Skewed ids with duplicates, the last example's beyond the table; gradients, some of them 0."""
  rng = np.random.default_rng(0)
  sizes = np.asarray(sizes)
  for _ in range(STEPS):
    ids_BxF = (rng.random((BATCH, 3)) ** 2 * sizes + np.cumsum(sizes) - sizes).astype(np.int32)
    ids_BxF[-1] = 2**31 - 1
    grads = {
      name: rng.standard_normal((BATCH, 3, width)).astype(np.float32)
      for name, width in COLUMNS.items()
    }
    grads['embedding'][0] = grads['linear'][0] = 0
    yield ids_BxF, grads


def train(placed, rates):
  """(rows of each lookup, rows and moments at the end)."""
  table, seen = start(placed), []
  lookup = jax.jit(functools.partial(table_lib.lookup, placed))
  update = jax.jit(functools.partial(table_lib.update, placed), donate_argnums=0)
  for batch in batches(placed.sizes):
    ids_BxF, grads = over_data(placed, batch)
    found = lookup(table, ids_BxF)
    seen.append({name: np.asarray(rows)[:-1] for name, rows in found.rows.items()})
    table, dropped = update(table, ids_BxF, grads, rates)
    assert int(found.dropped) == int(dropped) == 0
  return seen, logical(placed, table)


RATES = {
  'plain': optimizers.Rates(jnp.float32(0.1)),
  'decays': optimizers.Rates(jnp.float32(0.1), jnp.float32(0.1)),
  'l2': optimizers.Rates(jnp.float32(0.1), l2=jnp.float32(0.1)),
}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
  monkeypatch.setattr(packed_update, 'CHUNK', 20)  # several chunks, and one that is not full


@pytest.mark.parametrize(
  'optimizer, dtype, rates',
  [
    ('adam', 'float32', 'decays'),
    ('adam', 'bfloat16', 'plain'),
    ('adagrad', 'float32', 'decays'),
    ('adagrad', 'bfloat16', 'l2'),
    ('sgd', 'float32', 'plain'),
    ('sgd', 'bfloat16', 'decays'),
  ],
)
def test_a_packed_table_is_trained_as_rows_are(optimizer, dtype, rates):
  """Bit for bit, but for what XLA contracts and sums otherwise: sums of duplicates are the same."""
  got = train(place('packed', optimizer, dtype), RATES[rates])
  want = train(place('rows', optimizer, dtype), RATES[rates])
  # a last bit may round a bfloat16 to the other side, rarely
  if dtype == 'bfloat16':
    decoded = [storage.decode(jnp.asarray(x[1][0])).astype(jnp.float32) for x in (got, want)]
    assert np.mean(np.abs(decoded[0] - decoded[1]) > 0) < 0.02
    np.testing.assert_allclose(*decoded, rtol=0.01)
    return
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, want)
  exact = {'sgd': slice(None), 'adam': slice(1, None), 'adagrad': slice(0)}[optimizer]
  jax.tree.map(np.testing.assert_array_equal, got[1][exact], want[1][exact])


@pytest.mark.parametrize(
  'shape, exchange, sizes, optimizer',
  [
    ((4, 2), 'reduce_scatter', SIZES, 'adam'),
    ((2, 4), 'all_to_all', WITH_TINY, 'adagrad'),
  ],
)
def test_a_packed_table_over_devices_is_trained_as_rows_on_one(shape, exchange, sizes, optimizer):
  spread = place('packed', optimizer, shape=shape, exchange=exchange, sizes=sizes)
  assert (spread.tiny is None) == (sizes == SIZES)
  got = train(spread, RATES['decays'])
  want = train(place('rows', optimizer, sizes=sizes), RATES['decays'])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, want)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('optimizer', OPTIMIZERS)
def test_rows_move_between_layouts_bit_for_bit(optimizer, dtype):
  rows, packed = (place(layout, optimizer, dtype) for layout in ('rows', 'packed'))
  table = table_lib.init(packed, jax.random.key(3), jnp.int32(5))
  there = table_lib.to_logical(packed, table_lib.from_logical(packed, table))
  back = table_lib.to_logical(rows, table_lib.from_logical(rows, there))
  for got, want in zip(logical(rows, back), logical(rows, table), strict=True):
    np.testing.assert_array_equal(got, want)


def test_only_ids_beyond_the_table_change_nothing():
  placed = place('packed')
  table = start(placed)
  ids_BxF = np.asarray([[-1, 2**31 - 1, placed.height]], np.int32)
  grads = {name: jnp.ones((1, 3, width)) for name, width in COLUMNS.items()}
  updated = table_lib.update(placed, table, ids_BxF, grads, RATES['decays'])
  jax.tree.map(
    np.testing.assert_array_equal, logical(placed, updated.table), logical(placed, table)
  )


@pytest.mark.parametrize(
  'width, per', [(1, 32), (4, 32), (5, 16), (16, 8), (64, 2), (65, 1), (200, 1)]
)
def test_rows_of_any_width(width, per):
  found = packing.of(width)
  assert (found.per, found.lanes % packing.LANES == 0 or per == 1) == (per, True)
  rng = np.random.default_rng(1)
  rows_RxD = rng.standard_normal((4 * per, width)).astype(np.float32)
  packed_RxL = packing.Pack(found)(jnp.asarray(rows_RxD))
  ids_O = rng.integers(0, 4 * per, 9).astype(np.int32)
  np.testing.assert_array_equal(packing.read(found, packed_RxL, ids_O), rows_RxD[ids_O])
  np.testing.assert_array_equal(packing.Unpack(found)(packed_RxL), rows_RxD)
  wide_OxL = packing.widen(found, rows_RxD[ids_O].T, jnp.asarray(ids_O))
  want = np.zeros((9, *packed_RxL.shape))
  for o, row in enumerate(ids_O):
    one_RxD = np.zeros_like(rows_RxD)
    one_RxD[row] = rows_RxD[row]
    want[o] = packing.Pack(found)(jnp.asarray(one_RxD))
  np.testing.assert_array_equal(wide_OxL, want.sum(axis=1))
