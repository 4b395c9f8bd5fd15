"""Row-sparse optimizers against a dense numpy reference, in place, over trials, in bfloat16."""

import functools

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import table_hlo

from rec_sparse.embedding import chunks
from rec_sparse.embedding import optimizers
from rec_sparse.embedding import storage

ROWS, DIM, N, STEPS = 11, 4, 16, 4
METHODS = ('scratch', 'sort')
B1, B2, EPS, DECAY = 0.8, 0.95, 1e-6, 0.1

FACTORIES = {
  'adagrad': functools.partial(
    optimizers.rowwise_adagrad, widths=(DIM,), eps=EPS, initial_accumulator=0.5
  ),
  'adam': functools.partial(optimizers.row_adam, b1=B1, b2=B2, eps=EPS),
  'sgd': optimizers.row_sgd,
}


def rates(learning_rate, decay=DECAY):
  return optimizers.Rates(jnp.asarray(learning_rate, jnp.float32), decay)


def dense_reference(name, table_RxD, batches, learning_rate):
  """Dense arrays, float64; rows outside of the batch are put back as they were."""
  table, rows = table_RxD.astype(np.float64), len(table_RxD)
  acc = np.full(rows, 0.5)
  m, v = np.zeros_like(table), np.zeros_like(table)
  for step, (ids_O, grads_OxD) in enumerate(batches, start=1):
    inside_O = (ids_O >= 0) & (ids_O < rows)
    g, touched = np.zeros_like(table), np.zeros(rows, bool)
    np.add.at(g, ids_O[inside_O], grads_OxD[inside_O])
    touched[ids_O[inside_O]] = True
    if name == 'adagrad':
      acc = acc + np.mean(g * g, axis=1)
      direction = g / (np.sqrt(acc) + EPS)[:, None]
    elif name == 'adam':
      m = np.where(touched[:, None], B1 * m + (1 - B1) * g, m)
      v = np.where(touched[:, None], B2 * v + (1 - B2) * g * g, v)
      direction = (m / (1 - B1**step)) / (np.sqrt(v / (1 - B2**step)) + EPS)
    else:
      direction = g
    table = np.where(touched[:, None], table - learning_rate * (direction + DECAY * table), table)
  return table


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
  monkeypatch.setattr(chunks, 'CHUNK', 5)  # several chunks and a remainder


@functools.cache
def jitted_update(name, method):
  return jax.jit(FACTORIES[name](method=method).update)


def random_batches(rng, steps, low=0, high=ROWS + 4):
  return [
    (rng.integers(low, high, N).astype(np.int32), rng.standard_normal((N, DIM)).astype(np.float32))
    for _ in range(steps)
  ]


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('name', FACTORIES)
@settings(max_examples=20, deadline=None)
@given(
  steps=st.integers(1, STEPS),
  rows=st.sampled_from([ROWS, N, N + 7]),
  beyond=st.integers(-ROWS + 1, 6),
  seed=st.integers(0, 2**31),
)
def test_equals_dense_reference(name, method, steps, rows, beyond, seed):
  """Tables with fewer rows than the batch has ids, and with more; some ids are negative or beyond
  the table.
  """
  rng = np.random.default_rng(seed)
  table_RxD = rng.standard_normal((rows, DIM)).astype(np.float32)
  batches = random_batches(rng, steps, low=-2, high=rows + beyond)
  table, slots = jnp.asarray(table_RxD), FACTORIES[name](method=method).init(jnp.asarray(table_RxD))
  for ids_O, grads_OxD in batches:
    table, slots = jitted_update(name, method)(table, slots, ids_O, grads_OxD, rates(0.3))
  want_RxD = dense_reference(name, table_RxD, batches, 0.3)
  np.testing.assert_allclose(table, want_RxD, rtol=2e-4, atol=2e-5)
  untouched = np.setdiff1d(np.arange(rows), np.concatenate([ids_O for ids_O, _ in batches]))
  np.testing.assert_array_equal(np.asarray(table)[untouched], table_RxD[untouched])
  assert int(slots.count) == steps


@pytest.mark.parametrize('name', FACTORIES)
def test_only_padding_changes_nothing(name):
  optimizer, table_RxD = FACTORIES[name](), jnp.ones((ROWS, DIM))
  padding_O = jnp.asarray([ROWS, ROWS, ROWS + 7, 2**31 - 1], jnp.int32)
  slots = optimizer.init(table_RxD)
  table, after = optimizer.update(table_RxD, slots, padding_O, jnp.ones((4, DIM)), rates(1))
  np.testing.assert_array_equal(table, table_RxD)
  jax.tree.map(np.testing.assert_array_equal, after.moments, slots.moments)


def test_adam_equals_optax_while_every_row_is_touched():
  rng = np.random.default_rng(0)
  table = jnp.asarray(rng.standard_normal((ROWS, DIM)), jnp.float32)
  ours, theirs = optimizers.row_adam(), optax.adamw(0.01, weight_decay=DECAY)
  dense, slots, state = table, ours.init(table), theirs.init(table)
  for _ in range(5):
    grads = jnp.asarray(rng.standard_normal((ROWS, DIM)), jnp.float32)
    table, slots = ours.update(table, slots, jnp.arange(ROWS), grads, rates(0.01))
    with jax.numpy_dtype_promotion('standard'):  # optax raises a float to an integer power
      updates, state = theirs.update(grads, state, dense)
    dense = optax.apply_updates(dense, updates)
  np.testing.assert_allclose(table, dense, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('rows', [ROWS, 4 * N])
@pytest.mark.parametrize('name', ['adam', 'sgd'])
def test_l2_on_the_whole_table_is_that_of_the_dense_optimizer(name, rows, method):
  """Rows that a batch does not touch have a gradient too, by the penalty alone."""
  rng = np.random.default_rng(4)
  start_RxD = jnp.asarray(rng.standard_normal((rows, DIM)), jnp.float32)
  dense = {'adam': optax.adam(0.1, B1, B2, EPS), 'sgd': optax.sgd(0.1)}[name]
  theirs = optax.chain(optax.add_decayed_weights(0.5), dense)
  ours = FACTORIES[name](method=method)
  told = optimizers.Rates(jnp.float32(0.1), l2=jnp.float32(0.5))
  want_RxD, state = start_RxD, theirs.init(start_RxD)
  found_RxD, slots = start_RxD, ours.init(start_RxD)
  for ids_O, grads_OxD in random_batches(rng, 5, high=ROWS):
    found_RxD, slots = ours.update(found_RxD, slots, ids_O, grads_OxD, told)
    grads_RxD = jnp.zeros((rows, DIM)).at[ids_O].add(grads_OxD)
    with jax.numpy_dtype_promotion('standard'):
      updates, state = theirs.update(grads_RxD, state, want_RxD)
    want_RxD = optax.apply_updates(want_RxD, updates)
  np.testing.assert_allclose(found_RxD, want_RxD, rtol=1e-5, atol=1e-6)


def scan_steps(optimizer, decay=DECAY):
  def steps(table, slots, ids_KxO, grads_KxOxD, learning_rate):
    def step(carry, batch):
      return optimizer.update(*carry, *batch, rates(learning_rate, decay)), None

    return lax.scan(step, (table, slots), (ids_KxO, grads_KxOxD))[0]

  return steps


@pytest.mark.fusions
@pytest.mark.parametrize(
  ('name', 'method', 'dtype'),
  [
    ('adagrad', 'scratch', 'float32'),
    ('adam', 'scratch', 'float32'),
    ('sgd', 'scratch', 'float32'),
    ('adam', 'sort', 'float32'),
    ('adam', 'scratch', 'bfloat16'),
  ],
)
def test_scan_updates_in_place(name, method, dtype):
  rows, dim, n = 1_000_000, 4, 64
  optimizer = FACTORIES[name](method=method)
  table = jax.eval_shape(lambda: storage.encode(jnp.zeros((rows, dim)), dtype))
  args = (
    table,
    jax.eval_shape(optimizer.init, table),
    jax.ShapeDtypeStruct((3, n), jnp.int32),
    jax.ShapeDtypeStruct((3, n, dim), jnp.float32),
    jax.ShapeDtypeStruct((), jnp.float32),
  )
  compiled = jax.jit(scan_steps(optimizer), donate_argnums=(0, 1)).lower(*args).compile()
  assert compiled.memory_analysis().temp_size_in_bytes < rows * dim * 2 // 50
  assert not table_hlo.table_sized(compiled.as_text(), rows)


@pytest.mark.parametrize(
  ('name', 'method'), [('adagrad', 'scratch'), ('adam', 'scratch'), ('adam', 'sort')]
)
def test_trials_by_vmap_and_by_map_equal_single_trials(name, method):
  rng, trials = np.random.default_rng(2), 3
  optimizer = FACTORIES[name](method=method)
  table_SxRxD = jnp.asarray(rng.standard_normal((trials, ROWS, DIM)), jnp.float32)
  ids_SxKxO = jnp.asarray(rng.integers(0, ROWS + 3, (trials, STEPS, N)), jnp.int32)
  grads_SxKxOxD = jnp.asarray(rng.standard_normal((trials, STEPS, N, DIM)), jnp.float32)
  rates_S = jnp.asarray([0.1, 0.01, 0.3], jnp.float32)
  steps = scan_steps(optimizer)
  args = (table_SxRxD, jax.vmap(optimizer.init)(table_SxRxD), ids_SxKxO, grads_SxKxOxD, rates_S)
  vmapped, _ = jax.jit(jax.vmap(steps))(*args)
  mapped, _ = jax.jit(lambda args: lax.map(lambda a: steps(*a), args))(args)
  single = jax.jit(steps)
  for t in range(trials):
    want, _ = single(*jax.tree.map(lambda x, t=t: x[t], args))
    np.testing.assert_allclose(vmapped[t], want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mapped[t], want, rtol=1e-5, atol=1e-6)


def test_a_dense_update_would_be_noticed():
  table = jax.ShapeDtypeStruct((1000, 4), jnp.float32)
  dense = jax.jit(
    lambda t: t - 0.1 * jax.grad(lambda t: jnp.sum(t[jnp.arange(3)]))(t), donate_argnums=0
  )
  assert table_hlo.table_sized(dense.lower(table).compile().as_text(), 1000)


@pytest.mark.fusions
def test_vmap_updates_in_place():
  rows, dim, n, trials = 200_000, 4, 64, 4
  optimizer = optimizers.row_adam()
  table = jax.ShapeDtypeStruct((trials, rows, dim), jnp.float32)
  args = (
    table,
    jax.eval_shape(jax.vmap(optimizer.init), table),
    jax.ShapeDtypeStruct((trials, 3, n), jnp.int32),
    jax.ShapeDtypeStruct((trials, 3, n, dim), jnp.float32),
    jax.ShapeDtypeStruct((trials,), jnp.float32),
  )
  compiled = jax.jit(jax.vmap(scan_steps(optimizer)), donate_argnums=(0, 1)).lower(*args).compile()
  assert compiled.memory_analysis().temp_size_in_bytes < trials * rows * dim * 4 // 10
  assert not table_hlo.table_sized(compiled.as_text(), rows)


def test_bfloat16_steps_below_the_last_bit_still_add_up():
  dim, steps = 256, 256
  step_size = 2.0**-10  # the spacing of bfloat16 at 1 is 2^-7: rounding to nearest would not move
  optimizer, table = optimizers.row_sgd(), storage.encode(jnp.ones((3, dim)), 'bfloat16')
  ids_KxO = jnp.tile(jnp.asarray([[0, 2, 0]], jnp.int32), (steps, 1))
  grads_KxOxD = jnp.full((steps, 3, dim), -step_size / 2)
  run = jax.jit(scan_steps(optimizer, decay=None))
  table, _ = run(table, optimizer.init(table), ids_KxO, grads_KxOxD, jnp.float32(1))
  rows_RxD = np.asarray(storage.decode(table).astype(jnp.float32))
  assert rows_RxD[0].mean() == pytest.approx(1 + steps * step_size, abs=0.01)
  assert rows_RxD[2].mean() == pytest.approx(1 + steps * step_size / 2, abs=0.01)
  np.testing.assert_array_equal(rows_RxD[1], 1)
  nearest = jnp.bfloat16(1)
  for _ in range(steps):
    nearest = (nearest.astype(jnp.float32) + step_size).astype(jnp.bfloat16)
  assert nearest == 1


def test_unknown_dtype_is_named():
  with pytest.raises(ValueError, match='table is bfloat16, expected float32'):
    optimizers.row_sgd().init(jnp.zeros((3, 2), jnp.bfloat16))
