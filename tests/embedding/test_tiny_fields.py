"""Tiny fields held on every device: the rows of one device, and nothing of theirs in transit but
their gradients.
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
from rec_sparse.embedding import storage
from rec_sparse.embedding import tiny_fields

SIZES = (1, 5000, 256, 257, 3)
OFFSETS = np.cumsum(SIZES) - SIZES
ROWS, DIM, BATCH = sum(SIZES), 4, 16
FACTORIES = {
  'adagrad': optimizers.rowwise_adagrad,
  'adam': optimizers.row_adam,
  'sgd': optimizers.row_sgd,
}


def test_which_fields_are_tiny_and_where_their_rows_are():
  fields = tiny_fields.choose(SIZES, placement.make_mesh(2))
  assert fields.tiny_G.tolist() == [0, 2, 4] and fields.large_H.tolist() == [1, 3]
  np.testing.assert_array_equal(fields.rows_T, [0, *range(5001, 5257), *range(5514, 5517)])
  np.testing.assert_array_equal(
    fields.rows_T[OFFSETS[fields.tiny_G] - fields.shift_G], OFFSETS[fields.tiny_G]
  )


@pytest.mark.parametrize('sizes, devices', [(SIZES, 1), ((5000, 257), 2), ((256, 3), 2)])
def test_one_stack_where_a_second_would_hold_nothing(sizes, devices):
  assert tiny_fields.choose(sizes, placement.make_mesh(devices)) is None


def run(name, dtype, shape, method='reduce_scatter', steps=3):
  """Random gradients for a few steps -> (looked-up rows of each step, table, moments) in logical
  order.
  """
  rng, mesh = np.random.default_rng(3), placement.make_mesh(*shape)
  fields, optimizer = tiny_fields.choose(SIZES, mesh), FACTORIES[name](weight_decay=0.1)
  start_RxD = storage.encode(jnp.asarray(rng.standard_normal((ROWS, DIM)), jnp.float32), dtype)
  table_RxD = placement.place(np.asarray(start_RxD), mesh)
  slots = optimizer.init(table_RxD)
  stack = tiny_fields.take(fields, table_RxD, slots, mesh) if fields else ()
  lookup = jax.jit(functools.partial(tiny_fields.lookup, fields, mesh=mesh, method=method))
  update = jax.jit(
    functools.partial(tiny_fields.update, fields, optimizer, mesh=mesh, method=method)
  )
  seen = []
  for _ in range(steps):
    ids_BxF = ((rng.random((BATCH, len(SIZES))) ** 4 * SIZES) + OFFSETS).astype(np.int32)
    grads_BxFxD = rng.standard_normal((BATCH, len(SIZES), DIM)).astype(np.float32)
    ids_BxF, grads_BxFxD = jax.device_put(
      (ids_BxF, grads_BxFxD), jax.NamedSharding(mesh, P('data'))
    )
    rows_BxFxD, dropped = lookup(table_RxD, stack, ids_BxF)
    updated, stack = update(table_RxD, slots, stack, ids_BxF, grads_BxFxD, jnp.float32(0.1))
    table_RxD, slots = updated.table_RxD, updated.slots
    assert int(dropped) == int(updated.dropped) == 0
    seen.append(np.asarray(rows_BxFxD.astype(jnp.float32)))
  if fields:
    table_RxD, slots = tiny_fields.put(fields, table_RxD, slots, stack, mesh)
  return np.stack(seen), *(placement.unplace(x, mesh, ROWS) for x in (table_RxD, *slots.moments))


@functools.cache
def one_device(name, dtype):
  return run(name, dtype, (1, 1))


@pytest.mark.parametrize(
  'name, shape, method',
  [
    ('adam', (8, 1), 'reduce_scatter'),
    ('adam', (2, 4), 'all_to_all'),
    ('adagrad', (2, 4), 'reduce_scatter'),
    ('sgd', (4, 2), 'reduce_scatter'),
  ],
)
def test_lookups_and_updates_equal_one_device(name, shape, method):
  for got, want in zip(
    run(name, 'float32', shape, method), one_device(name, 'float32'), strict=True
  ):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_stochastic_rounding_does_not_depend_on_where_rows_are():
  _, table = run('sgd', 'bfloat16', (4, 2))
  _, want = one_device('sgd', 'bfloat16')
  assert np.mean(table != want) < 1e-3  # sums in another order may round to the other side, rarely


@pytest.mark.parametrize('method', ['reduce_scatter', 'all_to_all'])
def test_rows_of_tiny_fields_do_not_travel(method):
  """With one large field among many tiny ones, a lookup sends no more than that field's ids and
  rows.
  """
  mesh, sizes = placement.make_mesh(4, 2), (100_000, *(8,) * 20)
  fields = tiny_fields.choose(sizes, mesh)
  table = jax.ShapeDtypeStruct(
    (placement.padded_rows(sum(sizes), 8), DIM), jnp.float32, sharding=placement.sharding(mesh)
  )
  stack = jax.eval_shape(lambda: tiny_fields.Stack(jnp.zeros((160, DIM)), None, None))
  ids_BxF = jax.ShapeDtypeStruct(
    (BATCH, 21), jnp.int32, sharding=jax.NamedSharding(mesh, P('data'))
  )
  lookup = jax.jit(functools.partial(tiny_fields.lookup, fields, mesh=mesh, method=method))
  sent = table_hlo.collectives(lookup.lower(table, stack, ids_BxF).compile().as_text())
  assert sent and max(size for _, size in sent) <= BATCH * DIM
