"""Schedules, clipping, and the settings in which trials of one program may differ."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rec_sparse import config as config_lib
from rec_sparse import optimizer
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.embedding import duplicates

SIZES, BATCH = (40, 30), 32


def build(**overrides):
  """(program, its schema) of a small network."""
  fields = tuple(schema_lib.Field(f'f{i}', 'categorical', size) for i, size in enumerate(SIZES))
  schema = schema_lib.FeatureSchema(fields, ('label',), None, {}, '', {})
  sizes = {'width': 8, 'embedding_dim': 4, 'batch_size': BATCH}
  return train.program(settings.make('dense_mlp', sizes | overrides), schema), schema


def batch(seed=0):
  rng = np.random.default_rng(seed)
  ids_BxF = (rng.random((BATCH, len(SIZES))) * SIZES).astype(np.int32)
  return {
    'ids_BxF': ids_BxF + np.array([0, SIZES[0]], np.int32),
    'label_BxT': (rng.random((BATCH, 1)) < 0.4).astype(np.float32),
    'weight_B': np.ones(BATCH, np.float32),
  }


def rates(**overrides):
  """The learning rate at each of 10 steps."""
  config = settings.make('dense_mlp', {'learning_rate': 0.5, 'rate_floor': 0.01} | overrides)
  return [
    float(optimizer.rate(config, 10, jnp.int32(step), jnp.float32(0.2))) for step in range(10)
  ]


def test_a_rate_rises_and_falls_as_its_schedule_says():
  assert rates() == [0.5] * 10
  assert rates(schedule='plateau') == pytest.approx([0.1] * 10)
  rising = [0.125, 0.25, 0.375]
  line = [0.5 * (1 - 0.99 * done / 6) for done in range(7)]
  assert rates(schedule='warmup_linear', warmup_steps=3) == pytest.approx(rising + line)
  cosine = optax.cosine_decay_schedule(0.5, 6, alpha=0.01)
  want = rising + [float(cosine(step)) for step in range(7)]
  assert rates(schedule='warmup_cosine', warmup_steps=3) == pytest.approx(want)


def test_a_plateau_lowers_the_rate_at_every_miss_down_to_its_floor():
  config = settings.make('dense_mlp', {'schedule': 'plateau', 'rate_floor': 0.02})
  scale_S = jnp.ones(3)
  for is_better_S in ([True, True, False], [True, False, False], [True, True, False]):
    scale_S = optimizer.after_validation(config, scale_S, np.array(is_better_S))
  np.testing.assert_allclose(scale_S, [1, 0.1, 0.02])


@pytest.mark.parametrize('method, rows', [('scratch', 70), ('scratch', 5000), ('sort', 70)])
def test_the_norm_that_is_clipped_is_that_of_parameters_and_the_whole_table(method, rows):
  rng = np.random.default_rng(1)
  grads = {'kernel': rng.normal(size=(3, 2)).astype(np.float32)}
  ids_N = rng.integers(-1, 20, 50).astype(np.int32)
  row_grads_NxD = rng.normal(size=(50, 4)).astype(np.float32)
  table_RxD = np.zeros((rows, 4), np.float32)
  np.add.at(table_RxD, ids_N[ids_N >= 0], row_grads_NxD[ids_N >= 0])

  squared = duplicates.squared_norm(method, ids_N, row_grads_NxD, rows)
  scale = optimizer.clip_scale(2.0, grads, squared)

  clip = optax.clip_by_global_norm(2.0)
  want, _ = clip.update((grads, table_RxD), clip.init(None))
  np.testing.assert_allclose(grads['kernel'] * scale, want[0]['kernel'], rtol=1e-5)
  assert float(optimizer.clip_scale(1e4, grads, squared)) == 1


@functools.cache
def one_program():
  """(configs of one shape, their states side by side after two steps)."""
  every = {'dropout': 0.5, 'embedding_dropout': 0.1, 'clip_norm': 0.5, 'weight_decay': 0.1}
  every |= {'table_weight_decay': 0.1, 'table_l2': 0.01, 'schedule': 'plateau'}
  run, schema = build(**every)
  other = {'dropout': 0.1, 'clip_norm': 0.2, 'weight_decay': 2.0}
  other |= {'table_weight_decay': 1.0, 'table_l2': 0.2, 'table_learning_rate_ratio': 3.0}
  other |= {'learning_rate': 0.01, 'seed': 3}
  configs = [run.config, dataclasses.replace(run.config, **other)]
  placed = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  states = train.init_trials(run, schema, configs, placed)
  step = jax.jit(jax.vmap(functools.partial(train.train_step, run), (0, None, None)))
  for k in range(2):
    states, _ = step(states, train.zero_sums(), batch(k))
  return configs, states


@pytest.mark.parametrize('trial', [0, 1])
def test_trials_side_by_side_differ_in_all_that_is_marked(trial):
  configs, states = one_program()
  assert config_lib.shape(configs[0]) == config_lib.shape(configs[1])
  given = dataclasses.asdict(configs[trial])
  alone, schema = build(**{k: v for k, v in given.items() if k not in ('model', 'options')})
  state = train.init(alone, schema)
  step = jax.jit(functools.partial(train.train_step, alone))
  for k in range(2):
    state, _ = step(state, train.zero_sums(), batch(k))
  mine = train.unstack(states, trial)
  for found, want in (
    (mine.params, state.params),
    (mine.trial, state.trial),
    (mine.table.rows_RxD, state.table.rows_RxD),
  ):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, want)


def test_a_setting_that_is_off_is_another_shape():
  config = settings.make('dense_mlp', {'dropout': 0.2})
  assert config_lib.shape(config) == config_lib.shape(dataclasses.replace(config, dropout=0.5))
  assert config_lib.shape(config) != config_lib.shape(dataclasses.replace(config, dropout=0.0))
  assert config_lib.shape(config) != config_lib.shape(dataclasses.replace(config, width=8))
