"""The training step on one device: averages of the input normalization; padding changes nothing."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse import metrics
from rec_sparse import models
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.embedding import duplicates

SIZES, BATCH = (40, 30, 20), 64


def build(model='dense_mlp', first=SIZES[0], **overrides):
  """(program, its state at step 0) of a small network; the first field has `first` rows."""
  sizes = (first, *SIZES[1:])
  fields = tuple(
    schema_lib.Field(f'field_{i}', 'categorical', size) for i, size in enumerate(sizes)
  )
  schema = schema_lib.FeatureSchema(fields, ('label',), None, {}, '', {})
  config = settings.make(
    model, {'width': 16, 'embedding_dim': 8, 'batch_size': BATCH, 'learning_rate': 0.01} | overrides
  )
  program = train.program(config, schema)
  return program, train.init(program, schema)


def batches(steps, size=BATCH):
  """Random ids, and a label that the first of them decides but for noise; of each step, stacked."""
  rng = np.random.default_rng(3)
  ids_KxBxF = (rng.random((steps, size, len(SIZES))) * SIZES).astype(np.int32)
  flipped_KxBx1 = rng.random((steps, size, 1)) < 0.1
  label_KxBx1 = (ids_KxBxF[..., :1] % 2 == 1) ^ flipped_KxBx1
  offsets = np.cumsum((0, *SIZES[:-1])).astype(np.int32)
  return {
    'ids_BxF': ids_KxBxF + offsets,
    'label_BxT': label_KxBx1.astype(np.float32),
    'weight_B': np.ones((steps, size), np.float32),
  }


def at(stacked, step):
  return jax.tree.map(lambda leaf: leaf[step], stacked)


@functools.cache
def step_of(**overrides):
  """The compiled step of `build(**overrides)`."""
  return jax.jit(functools.partial(train.train_step, build(**overrides)[0]))


def batch_statistics(state, batch):
  """(mean_F, variance_F) of the rows that a batch reads, over all examples and coordinates."""
  rows_BxFxD = np.asarray(state.table.rows_RxD, np.float64)[batch['ids_BxF']]
  return rows_BxFxD.mean((0, 2)), rows_BxFxD.var((0, 2))


def test_evaluation_normalizes_by_the_exact_average_of_what_batches_had():
  _, state = build()
  made, found, weights = batches(4), [], []
  for step in range(4):
    found.append(batch_statistics(state, at(made, step)))
    weights = [0.9 * weight for weight in weights] + [1.0]
    state, _ = step_of()(state, train.zero_sums(), at(made, step))
    norm = state.moving['batch_stats']['input']['norm']
    for name, values_SxF in zip(('mean', 'var'), zip(*found, strict=True), strict=True):
      expected_F = np.average(values_SxF, 0, weights)
      np.testing.assert_allclose(norm[name], expected_F, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize('overrides', [{}, {'compute_dtype': 'bfloat16'}], ids=str)
def test_after_a_few_steps_evaluation_is_as_good_as_with_the_statistics_of_the_batch(overrides):
  """A start value of 1 in the variance, hundreds of times the truth, would cost more than .1."""
  program, state = build(**overrides)
  made, fresh = batches(15), at(batches(16, 512), 15)
  for step in range(15):
    state, _ = step_of(**overrides)(state, train.zero_sums(), at(made, step))
  sums, _ = jax.jit(functools.partial(train.eval_step, program))(
    state, program.objective.zeros(), fresh
  )
  loss = metrics.compute(sums)[0]['logloss']
  variables = train.variables(state)
  rows = {'embedding': state.table.rows_RxD[fresh['ids_BxF']]}
  logits_BxT, _ = program.module.apply(variables, rows, train=True, mutable=train.MOVING)
  own = float(jnp.mean(metrics.logloss_from_logits(logits_BxT, fresh['label_BxT'])))
  assert own < 0.5 and loss == pytest.approx(own, abs=0.02)


@pytest.mark.parametrize(
  'method, overrides',
  [
    ('sort', {}),
    ('scratch', {'model': 'ssr_d'}),
    ('scratch', {'first': 1000, 'table_optimizer': 'adagrad'}),
    ('scratch', {'table_optimizer': 'sgd', 'model': 'ssr_s', 'filter': 'learned'}),
  ],
  ids=str,
)
def test_padding_changes_nothing(monkeypatch, method, overrides):
  """Copies of a row of the batch, of weight 0: the same loss and network, the same rows touched."""
  monkeypatch.setattr(duplicates, 'default_method', lambda platform: method)
  program, state = build(depth=1, views=2, width=8, table_weight_decay=0.1, **overrides)
  partial = batches(2, 40)

  def longer(leaf):
    return np.concatenate([leaf, np.repeat(leaf[:, :1], 24, 1)], 1)

  padded = jax.tree.map(longer, partial)
  padded['weight_B'][:, 40:] = 0
  step = jax.jit(functools.partial(train.train_step, program))
  found = []
  for stacked in (partial, padded):
    reached, sums = state, train.zero_sums()
    for k in range(2):
      reached, sums = step(reached, sums, at(stacked, k))
    moved = np.any(np.asarray(reached.table.rows_RxD) != np.asarray(state.table.rows_RxD), 1)
    slots = reached.table.slots._replace(scratch_R=None)
    reached = reached._replace(table=reached.table._replace(slots=slots))
    found.append((reached, sums, moved))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5), *found)
  np.testing.assert_array_equal(found[0][2], found[1][2])
  assert 20 < found[0][2].sum() < 90


class Sowing(nn.Module):
  """A module that also wants its rows to be small."""

  inner: nn.Module

  @nn.compact
  def __call__(self, rows, weight_B=None, *, train):
    self.sow('losses', 'size', jnp.sum(jnp.square(rows['embedding'])))
    self.sow('losses', 'one', jnp.float32(1))
    return self.inner(rows, weight_B, train=train)


def test_losses_that_a_model_sows_are_added_and_trained_on(monkeypatch):
  overrides = {'table_optimizer': 'sgd', 'learning_rate': 1e-3, 'unknown_share': 0.0}
  batch = at(batches(1), 0)
  program, state = build(**overrides)
  plain = jax.jit(functools.partial(train.train_step, program))(state, train.zero_sums(), batch)
  own = models.find('dense_mlp')
  sowing = own._replace(module=lambda config, inputs: Sowing(own.module(config, inputs)))
  monkeypatch.setattr(models, 'find', lambda name: sowing)
  params = {'inner': state.params}
  program, state = build(**overrides)
  state = state._replace(params=params)
  found = jax.jit(functools.partial(train.train_step, program))(state, train.zero_sums(), batch)

  rows_RxD = np.asarray(state.table.rows_RxD, np.float64)
  size = np.square(rows_RxD[batch['ids_BxF']]).sum()
  assert float(found[1].loss) == pytest.approx(float(plain[1].loss) + size + 1, rel=1e-5)
  count_Rx1 = np.bincount(batch['ids_BxF'].ravel(), minlength=len(rows_RxD))[:, None]
  moved_RxD = found[0].table.rows_RxD - plain[0].table.rows_RxD
  np.testing.assert_allclose(moved_RxD, -1e-3 * 2 * count_Rx1 * rows_RxD, atol=1e-6)
  assert np.abs(moved_RxD).max() > 1e-4
  _, logits_BxT = train.eval_step(program, state, program.objective.zeros(), batch)
  assert logits_BxT.shape == (BATCH, 1)  # an evaluation sows nothing
