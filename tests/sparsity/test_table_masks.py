"""Masks over the table: one ranking on any devices, by every optimizer, without a pass between
changes; what tests/sparsity/test_masks.py does not see in a whole training step.
"""

import dataclasses
import functools

import jax
from jax import P
import jax.numpy as jnp
import numpy as np
import pytest
import table_hlo

from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.embedding import optimizers
from rec_sparse.embedding import placement
from rec_sparse.embedding import table as table_lib
from rec_sparse.runs import hlo
from rec_sparse.sparsity import schedule as schedule_lib
from rec_sparse.sparsity import selection
from rec_sparse.sparsity import table_masks

SIZES = (40, 300, 3)  # two of them tiny
COLUMNS = {'linear': 1, 'embedding': 4}
STEPS, BATCH = 6, 8
RATES = optimizers.Rates(jnp.float32(0.5))
FACTORIES = {
  'adagrad': functools.partial(optimizers.rowwise_adagrad, widths=tuple(COLUMNS.values())),
  'adam': optimizers.row_adam,
  'sgd': optimizers.row_sgd,
}


def placed_on(shape=(1, 1), optimizer='sgd', sizes=SIZES, dtype='float32', **given):
  mesh = placement.make_mesh(*shape)
  made = FACTORIES[optimizer]()
  return table_lib.Placed(COLUMNS, sizes, dtype, 1.0, made, mesh, **given)


def sparsifier(placed):
  """Of dsl, with changes after steps 1, 3 and 5."""
  entries = sum(placed.sizes) * COLUMNS['embedding']
  schedule = schedule_lib.Schedule(first=1, every=2, end=5, share=0.1)
  rule = table_masks.RULES['dsl']
  rule = rule._replace(is_due=lambda schedule, step: step % schedule.every == 1)
  return table_masks.TableSparsifier(rule, entries // 4, entries, schedule)


def start(own, placed):
  def first():
    return table_masks.start(own, placed, table_lib.init(placed, jax.random.key(3), jnp.int32(5)))

  where = table_lib.shardings(placed, jax.eval_shape(first))
  return table_lib.from_logical(placed, jax.jit(first, out_shardings=where)())


def step_of(own, placed, rates=RATES):
  def step(table, ids_BxF, grads, number):
    table = table_lib.update(placed, table, ids_BxF, grads, rates).table
    return table_masks.at_step(own, placed, table, number)

  return jax.jit(step, donate_argnums=0)


def batches(placed):
  """Gradients are whole numbers, so that their sums do not depend on the order."""
  rng = np.random.default_rng(3)
  sizes = np.array(placed.sizes)
  offsets = np.cumsum(sizes) - sizes
  for _ in range(STEPS):
    ids_BxF = (rng.random((BATCH, len(sizes))) ** 3 * sizes + offsets).astype(np.int32)
    yield (
      ids_BxF,
      {
        purpose: rng.integers(-2, 3, (*ids_BxF.shape, width)).astype(np.float32)
        for purpose, width in COLUMNS.items()
      },
    )


def logical(placed, table):
  """(rows, mask) on the host, without padding."""
  table = table_lib.to_logical(placed, table)
  arrays = table.rows_RxD, table.slots.mask_RxD
  return [np.asarray(array)[: sum(placed.sizes)] for array in arrays]


def masked_steps(placed):
  """(rows, mask) at the start and after each step."""
  own = sparsifier(placed)
  table = start(own, placed)
  seen = [logical(placed, table)]
  step = step_of(own, placed)
  over_data = jax.NamedSharding(placed.mesh, P('data'))
  for number, batch in enumerate(batches(placed)):
    table = step(table, *jax.device_put(batch, over_data), jnp.int32(number))
    seen.append(logical(placed, table))
  return own, seen


@functools.cache
def one_device():
  return masked_steps(placed_on())


def test_masks_are_those_of_one_device():
  placed = placed_on((2, 1), exchange='all_to_all')
  assert placed.tiny
  _, seen = masked_steps(placed)
  _, want = one_device()
  for (rows_RxD, mask_RxD), (want_rows_RxD, want_mask_RxD) in zip(seen, want, strict=True):
    np.testing.assert_array_equal(mask_RxD, want_mask_RxD)
    np.testing.assert_array_equal(rows_RxD, want_rows_RxD)


def test_an_exchange_drops_the_smallest_entries_and_grows_the_largest_sums():
  own, seen = one_device()
  (_, old_RxD), (_, new_RxD) = seen[1:3]  # step 1 exchanges
  sums_RxD = np.zeros(old_RxD.shape)
  placed = placed_on()
  table = start(own, placed)
  plain = jax.jit(functools.partial(table_lib.update, placed))
  for _, (ids_BxF, grads) in zip(range(2), batches(placed), strict=False):
    of_step_RxD = np.zeros(old_RxD.shape)
    whole_BxFxD = np.concatenate([grads[purpose] for purpose in COLUMNS], axis=2)
    np.add.at(of_step_RxD, ids_BxF, whole_BxFxD)
    sums_RxD += np.abs(of_step_RxD)
    table = plain(table, ids_BxF, grads, RATES).table

  embeddings = np.s_[:, COLUMNS['linear'] :]
  old, new, sums = old_RxD[embeddings], new_RxD[embeddings], sums_RxD[embeddings]
  size = np.abs(np.asarray(table.rows_RxD)[: sum(SIZES)][embeddings])
  share = float(schedule_lib.share_with_floor(own.schedule, jnp.int32(1)))
  replaced = int(np.ceil(share * own.count))
  held = np.zeros(old.shape, bool)
  held[old] = np.argsort(np.argsort(size[old], kind='stable')) >= replaced
  assert (new & held == held).all() and new.sum() == old.sum() == own.count
  grown = new & ~held
  assert grown.sum() == replaced and sums[grown].min() >= sums[~new].max() > 0
  assert new_RxD[:, : COLUMNS['linear']].all()


@pytest.mark.parametrize(
  'optimizer, dtype, decays_all',
  [('adagrad', 'float32', False), ('adam', 'bfloat16', True), ('sgd', 'float32', True)],
)
def test_entries_outside_stay_zero_by_every_optimizer(optimizer, dtype, decays_all):
  placed = placed_on(optimizer=optimizer, dtype=dtype, sizes=(20, 30), decays_all=decays_all)
  own = sparsifier(placed)
  table = start(own, placed)
  decay = jnp.float32(0.1)
  step = step_of(own, placed, RATES._replace(weight_decay=decay, l2=None if decays_all else decay))
  for number, batch in enumerate(batches(placed)):
    before_RxD = np.asarray(table.rows_RxD)
    table = step(table, *batch, jnp.int32(number))
    outside_RxD = ~np.asarray(table.slots.mask_RxD)
    assert outside_RxD.sum() == own.dropped
    for array_RxX in (table.rows_RxD, *table.slots.moments):
      array_RxX = np.asarray(array_RxX)
      assert array_RxX.ndim == 1 or not array_RxX[outside_RxD].any()
    assert (before_RxD != np.asarray(table.rows_RxD)).any()


@pytest.mark.fusions
def test_a_step_between_changes_makes_nothing_of_the_size_of_the_table():
  """What goes over the table stands in the body of a loop of no turn or one."""
  placed = placed_on(optimizer='adam', sizes=(2**18,))
  own = sparsifier(placed)
  table = jax.eval_shape(functools.partial(start, own, placed))
  ids_BxF, grads = jax.tree.map(lambda x: x[:, :1], next(batches(placed_on())))
  compiled = step_of(own, placed).lower(table, ids_BxF, grads, jnp.int32(0)).compile()
  step = compiled.as_text().partition('ENTRY')[2]
  size = table.rows_RxD.size
  assert not table_hlo.table_sized(step, size)
  written = [one.line for one in hlo.operations(step) if one.elements >= size]
  written = [line for line in written if ' fusion(' in line or ' call(' in line]
  assert written and all('scatter' in line.partition(' ')[0] for line in written)


@pytest.mark.parametrize('count', [0, 1, 7, 19, 20])
def test_the_smallest_of_a_tree_are_those_of_one_sort(count):
  rng = np.random.default_rng(count)
  first = rng.integers(0, 3, 20).astype(np.uint32)
  lots = rng.permutation(20).astype(np.uint32)
  among = np.ones(24, bool)
  among[[3, 8, 11, 15]] = False
  keys = [np.zeros(24, np.uint32) for _ in range(2)]
  for key, values in zip(keys, (first, lots), strict=True):
    key[among] = values

  def parts(x):
    return {'a': jnp.asarray(x[:10]).reshape(2, 5), 'b': jnp.asarray(x[10:])}

  found = selection.smallest_of_all([parts(key) for key in keys], parts(among), count)
  want = np.zeros(24, bool)
  want[np.flatnonzero(among)[np.lexsort((lots, first))[:count]]] = True
  np.testing.assert_array_equal(np.concatenate([found['a'].ravel(), found['b']]), want)


@pytest.mark.parametrize(
  'layout, kept, message',
  [
    ('packed', (), 'table_sparsity=dsl: a table of layout=packed has no masks'),
    ('rows', ('10',), 'table_sparsity=dsl: rows of the data set lack dimensions'),
  ],
)
def test_a_table_that_has_no_masks_is_one_sentence(layout, kept, message):
  runs = tuple(schema_lib.DimRun(5, of_run) for of_run in kept)
  fields = (schema_lib.Field('f', 'categorical', 5),)
  schema = schema_lib.FeatureSchema(fields, ('label',), None, {}, '', {}, dim_runs=runs)
  config = settings.make('fm', {'table_sparsity': 'dsl', 'embedding_dim': 2})
  with pytest.raises(ValueError, match=message):
    train.program(config, schema, layout=layout)
  of_weights = dataclasses.replace(placed_on(), columns={'linear': 1})
  with pytest.raises(ValueError, match='table_sparsity=dsl: fm has 0 entries of embeddings'):
    table_masks.of_run(config, of_weights, 10)
