"""Tables on one device and on several: the same rows, the same updates, whatever their columns, and
nothing of the size of a table in the program.
"""

import dataclasses
import functools

import jax
from jax import P
import jax.numpy as jnp
import numpy as np
import pytest
import table_hlo

from rec_sparse.embedding import optimizers
from rec_sparse.embedding import placement
from rec_sparse.embedding import routing
from rec_sparse.embedding import storage
from rec_sparse.embedding import table as table_lib
from rec_sparse.runs import hlo

BATCH, DIM = 16, 4
MESHES = [(8, 1), (4, 2), (2, 4), (1, 1)]
SIZES = {'sharded': (900, 900, 1100, 1200), 'tiny': (1, 1300, 256, 257, 3), 'small': (1, 150, 3)}
TWO = {'embedding': DIM, 'linear': 1}
RATES = optimizers.Rates(jnp.float32(0.1), jnp.float32(0.1))
FACTORIES = {
  'adagrad': optimizers.rowwise_adagrad,
  'adam': optimizers.row_adam,
  'sgd': optimizers.row_sgd,
}


def place(
  shape=(1, 1),
  columns=None,
  sizes=SIZES['sharded'],
  dtype='float32',
  optimizer='adam',
  method='reduce_scatter',
):
  """A table on a mesh of `shape`, its rows decayed."""
  columns = columns or {'embedding': DIM}
  own = {'widths': tuple(columns.values())} if optimizer == 'adagrad' else {}
  return table_lib.Placed(
    columns=columns,
    sizes=sizes,
    dtype=dtype,
    start=1.0,
    optimizer=FACTORIES[optimizer](**own),
    mesh=placement.make_mesh(*shape),
    exchange=method,
  )


def start(placed):
  """A table at step 0."""
  first = functools.partial(table_lib.init, placed, jax.random.key(3), jnp.int32(5))
  where = table_lib.shardings(placed, table_lib.abstract(placed))
  return table_lib.from_logical(placed, jax.jit(first, out_shardings=where)())


def over_data(placed, *arrays):
  return jax.device_put(arrays, jax.NamedSharding(placed.mesh, P('data')))


def random_batches(placed, steps=3):
  """Skewed ids, of which the last example's are beyond the table, and a gradient by purpose."""
  rng = np.random.default_rng(3)
  sizes = np.array(placed.sizes)
  offsets = np.cumsum(sizes) - sizes
  for _ in range(steps):
    ids_BxF = (rng.random((BATCH, len(sizes))) ** 5 * sizes + offsets).astype(np.int32)
    grads = {
      purpose: rng.standard_normal((*ids_BxF.shape, width)).astype(np.float32)
      for purpose, width in TWO.items()
    }
    yield ids_BxF, {purpose: grads[purpose] for purpose in placed.columns}


def logical(placed, table):
  """Rows and moments on the host, in logical order, without padding."""
  table = table_lib.to_logical(placed, table)
  arrays = table.rows_RxD, *table.slots.moments
  return [np.asarray(array)[: sum(placed.sizes)] for array in arrays]


def train(placed):
  """Random gradients for a few steps -> (rows of each lookup, rows and moments at the end)."""
  table, seen = start(placed), []
  lookup = jax.jit(functools.partial(table_lib.lookup, placed))
  update = jax.jit(functools.partial(table_lib.update, placed), donate_argnums=0)
  for ids_BxF, grads in random_batches(placed):
    found = lookup(table, *over_data(placed, ids_BxF))
    seen.append(jax.tree.map(np.asarray, found.rows))
    table, dropped = update(table, *over_data(placed, ids_BxF, grads), RATES)
    assert int(found.dropped) == int(dropped) == 0
  assert int(table.slots.count) == len(seen)
  return seen, logical(placed, table)


@functools.cache
def one_device(columns, sizes, dtype, optimizer):
  return train(place((1, 1), dict(columns), sizes, dtype, optimizer))


@pytest.mark.parametrize(
  'shape, method, sizes, optimizer, columns',
  [
    ((8, 1), 'reduce_scatter', 'sharded', 'adam', {'embedding': DIM}),
    ((4, 2), 'all_to_all', 'sharded', 'adam', {'embedding': DIM}),
    ((2, 4), 'reduce_scatter', 'sharded', 'adam', {'embedding': DIM}),
    ((1, 1), 'all_to_all', 'sharded', 'adam', {'embedding': DIM}),
    ((4, 2), 'reduce_scatter', 'sharded', 'adagrad', TWO),
    ((2, 4), 'all_to_all', 'sharded', 'sgd', TWO),
    ((8, 1), 'reduce_scatter', 'tiny', 'adam', TWO),
    ((2, 4), 'all_to_all', 'tiny', 'adam', {'embedding': DIM}),
    ((2, 4), 'reduce_scatter', 'tiny', 'adagrad', TWO),
    ((4, 2), 'reduce_scatter', 'tiny', 'sgd', {'embedding': DIM}),
    ((4, 2), 'reduce_scatter', 'small', 'adam', {'embedding': DIM}),
  ],
)
def test_lookups_and_updates_equal_one_device(shape, method, sizes, optimizer, columns):
  placed = place(shape, columns, SIZES[sizes], optimizer=optimizer, method=method)
  assert (placed.tiny is not None) == (sizes == 'tiny')
  got = train(placed)
  want = one_device(tuple(columns.items()), SIZES[sizes], 'float32', optimizer)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, want)


@pytest.mark.parametrize(
  'optimizer, shape, sizes',
  [('adam', (1, 1), 'small'), ('adagrad', (1, 1), 'tiny'), ('adam', (4, 2), 'tiny')],
)
def test_all_rows_decay_as_in_the_dense_form(optimizer, shape, sizes):
  """To half of themselves at each step, so that the scale of the table is folded into rows once."""
  placed = dataclasses.replace(
    place(shape, sizes=SIZES[sizes], optimizer=optimizer), decays_all=True
  )
  plain = place(sizes=SIZES[sizes], optimizer=optimizer)
  rates = optimizers.Rates(jnp.float32(0.1), jnp.float32(5.0))
  lookup, lookup_plain = (jax.jit(functools.partial(table_lib.lookup, p)) for p in (placed, plain))
  update, update_plain = (jax.jit(functools.partial(table_lib.update, p)) for p in (placed, plain))
  table, want = start(placed), start(plain)
  for ids_BxF, grads in random_batches(plain, 22):
    found = lookup(table, *over_data(placed, ids_BxF))
    want_found = lookup_plain(want, ids_BxF)
    np.testing.assert_allclose(
      found.rows['embedding'][:-1], want_found.rows['embedding'][:-1], rtol=1e-4, atol=1e-6
    )
    table, _ = update(table, *over_data(placed, ids_BxF, grads), rates)
    moved = update_plain(want, ids_BxF, grads, rates).table
    touched_R = np.isin(np.arange(len(want.rows_RxD)), ids_BxF)
    rows_RxD = jnp.where(touched_R[:, None], moved.rows_RxD, 0.5 * want.rows_RxD)
    want = moved._replace(rows_RxD=rows_RxD)

  assert 2.0**-3 < float(table.scale) < 1
  logical_table = table_lib.settled(table_lib.to_logical(placed, table))
  found_RxD = np.asarray(logical_table.rows_RxD)[: sum(placed.sizes)]
  np.testing.assert_allclose(found_RxD, want.rows_RxD[: sum(placed.sizes)], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('sizes, method', [('sharded', 'all_to_all'), ('tiny', 'reduce_scatter')])
def test_stochastic_rounding_does_not_depend_on_where_rows_are(sizes, method):
  placed = place((4, 2), None, SIZES[sizes], 'bfloat16', 'sgd', method)
  _, (got_RxD,) = train(placed)
  _, (want_RxD,) = one_device((('embedding', DIM),), SIZES[sizes], 'bfloat16', 'sgd')
  # sums in another order may round to the other side, rarely
  assert np.mean(got_RxD != want_RxD) < 1e-3


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('shape, method', [((2, 4), name) for name in table_lib.EXCHANGES])
def test_lookup_equals_indexing(shape, method, dtype):
  placed = place(shape, TWO, SIZES['tiny'], dtype, method=method)
  table = start(placed)
  (ids_BxF, _) = next(random_batches(placed))
  (ids_BxF,) = over_data(placed, ids_BxF)
  found = jax.jit(functools.partial(table_lib.lookup, placed))(table, ids_BxF).rows
  stored_RxD = np.asarray(table_lib.to_logical(placed, table).rows_RxD)
  rows_RxD = np.asarray(storage.decode(jnp.asarray(stored_RxD)).astype(jnp.float32))
  np.testing.assert_array_equal(found['embedding'], rows_RxD[ids_BxF, :DIM])
  np.testing.assert_array_equal(found['linear'], rows_RxD[ids_BxF, DIM:])
  assert found['embedding'].dtype == jnp.float32
  assert found['embedding'].sharding.is_equivalent_to(jax.NamedSharding(placed.mesh, P('data')), 3)


@pytest.mark.parametrize('optimizer', FACTORIES)
def test_two_purposes_in_a_row_are_two_tables(optimizer):
  """The same start values, lookups, updates and accumulators as a table of each purpose's own."""
  seen, (rows_RxD, *moments) = train(place(columns=TWO, optimizer=optimizer))
  for purpose, where in (('embedding', slice(0, DIM)), ('linear', slice(DIM, None))):
    own = place(columns={purpose: TWO[purpose]}, optimizer=optimizer)
    want_seen, (want_RxD, *want_moments) = train(own)
    np.testing.assert_allclose(rows_RxD[:, where], want_RxD, rtol=1e-6, atol=1e-7)
    for got, want in zip(seen, want_seen, strict=True):
      np.testing.assert_allclose(got[purpose], want[purpose], rtol=1e-6, atol=1e-7)
    if optimizer == 'adagrad':
      own_moments = moments[list(TWO).index(purpose) :][:1]
    else:
      own_moments = [moment_RxD[:, where] for moment_RxD in moments]
    for got, want in zip(own_moments, want_moments, strict=True):
      np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)


def test_two_purposes_are_one_gather():
  def gathers(columns):
    placed = place(columns=columns)
    ids_BxF = jax.ShapeDtypeStruct((BATCH, len(placed.sizes)), jnp.int32)
    lookup = jax.jit(functools.partial(table_lib.lookup, placed))
    text = lookup.lower(table_lib.abstract(placed), ids_BxF).compile().as_text()
    return [operation.name for operation in hlo.operations(text)].count('gather')

  assert gathers(TWO) == gathers({'embedding': DIM}) > 0


def test_embeddings_start_alike_whatever_else_a_row_holds():
  one, other = start(place()), start(place(columns={'linear': 2, 'embedding': DIM, 'more': 2}))
  np.testing.assert_array_equal(one.rows_RxD, other.rows_RxD[:, 2 : 2 + DIM])
  linear_RxD, more_RxD = other.rows_RxD[:, :2], other.rows_RxD[:, -2:]
  assert not np.any(linear_RxD == more_RxD)
  assert 0.9 < np.abs(more_RxD).max() < 1


def step_program(placed, batch):
  """A scan of steps (lookup, a gradient of the rows, update), compiled with abstract arguments."""

  def struct(leaf, sharding):
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

  table = table_lib.abstract(placed)
  table = jax.tree.map(struct, table, table_lib.shardings(placed, table))

  def mean_square(rows):
    return sum(jnp.mean(jnp.square(rows_BxFxD)) for rows_BxFxD in rows.values())

  def step(table, ids_BxF):
    found = table_lib.lookup(placed, table, ids_BxF)
    grads = jax.grad(mean_square)(found.rows)
    table, dropped = table_lib.update(placed, table, ids_BxF, grads, RATES)
    return table, found.dropped + dropped

  def steps(table, ids_KxBxF):
    return jax.lax.scan(step, table, ids_KxBxF)

  ids_KxBxF = jax.ShapeDtypeStruct(
    (3, batch, len(placed.sizes)),
    jnp.int32,
    sharding=jax.NamedSharding(placed.mesh, P(None, 'data')),
  )
  return jax.jit(steps, donate_argnums=0).lower(table, ids_KxBxF).compile()


@pytest.mark.fusions
@pytest.mark.parametrize(
  'method, shape, decays_all',
  [
    *((method, shape, False) for method in table_lib.EXCHANGES for shape in MESHES),
    ('reduce_scatter', (1, 1), True),
    ('reduce_scatter', (4, 2), True),
  ],
)
def test_program_has_nothing_of_the_size_of_a_table(method, shape, decays_all):
  rows, dim, fields = 2**20, 8, 4
  placed = place(
    shape, {'embedding': dim - 1, 'linear': 1}, (rows // fields,) * fields, method=method
  )
  placed = dataclasses.replace(placed, decays_all=decays_all)
  compiled = step_program(placed, BATCH)
  local_rows = rows // placed.mesh.size
  text = compiled.as_text()
  made = table_hlo.table_sized(text, local_rows)
  # What folds the scale into rows stands in a loop of no turn or one, and works in place.
  assert not [line for line in made if not decays_all or 'copy(' in line]
  largest = max((operation.elements for operation in hlo.collectives(text)), default=0)
  assert largest <= 8 * BATCH * fields * dim
  assert compiled.memory_analysis().temp_size_in_bytes < local_rows * dim * 4 // 10
  kinds = {operation.name.removesuffix('-start') for operation in hlo.collectives(text)}
  if shape == (1, 1):
    assert not kinds
  else:
    assert ('all-to-all' if method == 'all_to_all' else 'reduce-scatter') in kinds


@pytest.mark.parametrize('method', table_lib.EXCHANGES)
def test_rows_of_tiny_fields_do_not_travel(method):
  """With one large field among many tiny ones, a lookup sends no more than that field's ids and
  rows.
  """
  placed = place((4, 2), sizes=(10_000, *(8,) * 20), optimizer='sgd', method=method)
  (ids_BxF,) = over_data(placed, np.zeros((BATCH, 21), np.int32))
  lookup = jax.jit(functools.partial(table_lib.lookup, placed))
  sent = hlo.collectives(lookup.lower(start(placed), ids_BxF).compile().as_text())
  assert sent and max(operation.elements for operation in sent) <= BATCH * DIM


def test_overflow_is_counted_over_all_devices(monkeypatch):
  shards, batch, fields = 8, 512, 5
  sizes = (shards * batch,) * fields
  placed = place((4, 2), sizes=sizes, optimizer='sgd', method='all_to_all')
  table = start(placed)
  # all on shard 0
  ids_BxF = (np.arange(batch * fields, dtype=np.int32) * shards).reshape(batch, fields)
  capacity = routing.bucket_capacity(batch * fields // shards, shards)
  want = batch * fields - shards * capacity
  assert want > 0

  grads_BxFxD = np.ones((batch, fields, DIM), np.float32)
  ids_BxF, grads_BxFxD = over_data(placed, ids_BxF, grads_BxFxD)
  found = jax.jit(functools.partial(table_lib.lookup, placed))(table, ids_BxF)
  assert int(found.dropped) == want
  assert int((found.rows['embedding'][..., 0] == 0).sum()) == want
  update = jax.jit(functools.partial(table_lib.update, placed))
  updated = update(table, ids_BxF, {'embedding': grads_BxFxD}, RATES)
  assert int(updated.dropped) == want
  moved_R = np.any(np.asarray(updated.table.rows_RxD != table.rows_RxD), axis=1)
  assert moved_R.sum() == batch * fields - want
  monkeypatch.setattr(routing, 'SLACK', 8.0)
  assert int(jax.jit(functools.partial(table_lib.lookup, placed))(table, ids_BxF).dropped) == 0


def test_duplicates_and_padding_take_no_slots():
  placed = place((8, 1), optimizer='sgd', method='all_to_all')
  table = start(placed)
  lookup = jax.jit(functools.partial(table_lib.lookup, placed))
  for same in (0, 2**31 - 1):
    (ids_BxF,) = over_data(placed, np.full((512, len(placed.sizes)), same, np.int32))
    assert int(lookup(table, ids_BxF).dropped) == 0
