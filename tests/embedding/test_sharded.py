"""Sharded tables against one device: the same rows, the same updates, and nothing table-sized in
the program.
"""

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
from rec_sparse.embedding import sharded
from rec_sparse.embedding import storage

MESHES = [(8, 1), (4, 2), (2, 4), (1, 1)]
METHODS = ('reduce_scatter', 'all_to_all', 'replicated')
ROWS, DIM, BATCH, FIELDS = 4100, 4, 16, 5
FACTORIES = {
  'adagrad': optimizers.rowwise_adagrad,
  'adam': optimizers.row_adam,
  'sgd': optimizers.row_sgd,
}


def put(mesh, method, table_RxD):
  if method == 'replicated':
    return jax.device_put(table_RxD, placement.sharding(mesh, replicated=True))
  return placement.place(table_RxD, mesh)


def logical(mesh, method, stored):
  return (
    np.asarray(stored)[:ROWS] if method == 'replicated' else placement.unplace(stored, mesh, ROWS)
  )


def over_data(mesh, *arrays):
  return jax.device_put(arrays, jax.NamedSharding(mesh, P('data')))


def skewed_ids(rng, shape, rows=ROWS):
  return (rng.random(shape) ** 6 * rows).astype(np.int32)


@pytest.mark.parametrize(
  ('shape', 'dtype'), [(shape, 'float32') for shape in MESHES] + [((2, 4), 'bfloat16')]
)
@pytest.mark.parametrize('method', METHODS)
def test_lookup_equals_indexing(shape, method, dtype):
  rng, mesh = np.random.default_rng(0), placement.make_mesh(*shape)
  table_RxD = np.asarray(
    storage.encode(jnp.asarray(rng.standard_normal((ROWS, DIM)), jnp.float32), dtype)
  )
  ids_BxF = skewed_ids(rng, (BATCH, FIELDS))
  lookup = jax.jit(functools.partial(sharded.lookup, mesh=mesh, method=method))
  rows_BxFxD, dropped = lookup(put(mesh, method, table_RxD), *over_data(mesh, ids_BxF))
  assert int(dropped) == 0
  assert rows_BxFxD.dtype == dtype
  want = np.asarray(storage.decode(jnp.asarray(table_RxD)).astype(jnp.float32))[ids_BxF]
  np.testing.assert_array_equal(rows_BxFxD.astype(jnp.float32), want)
  assert rows_BxFxD.sharding.is_equivalent_to(jax.NamedSharding(mesh, P('data')), 3)


@functools.cache
def one_device_run(name, dtype):
  return train(name, dtype, (1, 1), 'replicated')


def train(name, dtype, shape, method, steps=3):
  """Random gradients for a few steps; returns (table, moments, count), all in logical order."""
  rng, mesh = np.random.default_rng(3), placement.make_mesh(*shape)
  table_RxD = storage.encode(jnp.asarray(rng.standard_normal((ROWS, DIM)), jnp.float32), dtype)
  optimizer = FACTORIES[name](weight_decay=0.1)
  table = put(mesh, method, np.asarray(table_RxD))
  slots = sharded.init_slots(optimizer, table, mesh, method)
  update = jax.jit(
    functools.partial(sharded.update, optimizer, mesh=mesh, method=method), donate_argnums=(0, 1)
  )
  for _ in range(steps):
    ids_BxF = skewed_ids(rng, (BATCH, FIELDS))
    ids_BxF[-1] = 2**30  # a padded example
    grads_BxFxD = rng.standard_normal((BATCH, FIELDS, DIM)).astype(np.float32)
    table, slots, dropped = update(
      table, slots, *over_data(mesh, ids_BxF, grads_BxFxD), jnp.float32(0.1)
    )
    assert int(dropped) == 0
  moments = [logical(mesh, method, m) for m in slots.moments]
  return logical(mesh, method, table), moments, int(slots.count)


@pytest.mark.parametrize(
  ('name', 'shape'), [('adam', shape) for shape in MESHES] + [('adagrad', (4, 2)), ('sgd', (2, 4))]
)
@pytest.mark.parametrize('method', METHODS)
def test_updates_equal_one_device(name, method, shape):
  table, moments, count = train(name, 'float32', shape, method)
  want_table, want_moments, want_count = one_device_run(name, 'float32')
  np.testing.assert_allclose(table, want_table, rtol=1e-5, atol=1e-5)
  for got, want in zip(moments, want_moments, strict=True):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
  assert count == want_count == 3


@pytest.mark.parametrize('method', METHODS)
def test_stochastic_rounding_does_not_depend_on_the_shards(method):
  table, *_ = train('sgd', 'bfloat16', (4, 2), method)
  want, *_ = one_device_run('sgd', 'bfloat16')
  assert np.mean(table != want) < 1e-3  # sums in another order may round to the other side, rarely


def step_program(shape, method, rows, dim, batch):
  """A scan of steps (lookup, a gradient of the rows, update), compiled with abstract arguments."""
  mesh, optimizer = placement.make_mesh(*shape), optimizers.row_adam()

  def struct(shape, dtype, spec):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=jax.NamedSharding(mesh, spec))

  spec = P() if method == 'replicated' else P(placement.AXES)
  table = struct((rows, dim), jnp.float32, spec)
  slots = jax.eval_shape(optimizer.init, table)
  slots = jax.tree.map(lambda x: struct(x.shape, x.dtype, spec if x.ndim else P()), slots)

  def step(carry, ids_BxF):
    table, slots = carry
    rows_BxFxD, dropped = sharded.lookup(table, ids_BxF, mesh, method)
    grads_BxFxD = jax.grad(lambda rows: jnp.mean(jnp.square(rows)))(rows_BxFxD)
    rate = jnp.float32(0.1)
    table, slots, more = sharded.update(
      optimizer, table, slots, ids_BxF, grads_BxFxD, rate, mesh, method
    )
    return (table, slots), dropped + more

  def steps(carry, ids_KxBxF):
    return jax.lax.scan(step, carry, ids_KxBxF)

  ids_KxBxF = struct((3, batch, FIELDS), jnp.int32, P(None, 'data'))
  return jax.jit(steps, donate_argnums=0).lower((table, slots), ids_KxBxF).compile()


@pytest.mark.parametrize('shape', MESHES)
@pytest.mark.parametrize('method', ['reduce_scatter', 'all_to_all'])
def test_program_has_nothing_of_the_size_of_a_table(method, shape):
  rows, dim = 2**20, 8
  compiled = step_program(shape, method, rows, dim, BATCH)
  local_rows = rows // (shape[0] * shape[1])
  text = compiled.as_text()
  assert not table_hlo.table_sized(text, local_rows)
  largest = max((size for _, size in table_hlo.collectives(text)), default=0)
  assert largest <= 8 * BATCH * FIELDS * dim
  assert compiled.memory_analysis().temp_size_in_bytes < local_rows * dim * 4 // 10
  kinds = {op.removesuffix('-start') for op, _ in table_hlo.collectives(text)}
  if shape == (1, 1):
    assert not kinds
  else:
    assert ('all-to-all' if method == 'all_to_all' else 'reduce-scatter') in kinds


def test_overflow_is_counted_over_all_devices():
  mesh, shards, batch = placement.make_mesh(4, 2), 8, 512
  table = placement.place(np.ones((8 * batch * FIELDS, DIM), np.float32), mesh)
  # all on shard 0
  ids_BxF = (np.arange(batch * FIELDS, dtype=np.int32) * shards).reshape(batch, FIELDS)
  capacity = routing.bucket_capacity(batch * FIELDS // shards, shards, sharded.SLACK)
  want = batch * FIELDS - shards * capacity
  assert want > 0
  ids_BxF, grads_BxFxD = over_data(mesh, ids_BxF, np.ones((batch, FIELDS, DIM), np.float32))
  lookup = jax.jit(
    functools.partial(sharded.lookup, mesh=mesh, method='all_to_all'), static_argnames='slack'
  )
  rows_BxFxD, dropped = lookup(table, ids_BxF)
  assert int(dropped) == want
  assert int((rows_BxFxD[..., 0] == 0).sum()) == want
  assert int(lookup(table, ids_BxF, slack=8.0).dropped) == 0
  optimizer = optimizers.row_sgd()
  slots = sharded.init_slots(optimizer, table, mesh, 'all_to_all')
  update = jax.jit(functools.partial(sharded.update, optimizer, mesh=mesh, method='all_to_all'))
  updated = update(table, slots, ids_BxF, grads_BxFxD, jnp.float32(1))
  assert int(updated.dropped) == want
  assert int((updated.table_RxD[:, 0] == 0).sum()) == batch * FIELDS - want


def test_duplicates_and_padding_take_no_slots():
  mesh, batch = placement.make_mesh(8, 1), 512
  table = placement.place(np.ones((ROWS, DIM), np.float32), mesh)
  lookup = jax.jit(functools.partial(sharded.lookup, mesh=mesh, method='all_to_all'))
  for same in (0, 2**31 - 1):
    (ids_BxF,) = over_data(mesh, np.full((batch, FIELDS), same, np.int32))
    assert int(lookup(table, ids_BxF).dropped) == 0
