"""What a GPU would run, lowered without one."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse import models
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.embedding import duplicates
from rec_sparse.runs import feeds
from rec_sparse.runs import trials

SCATTER = re.compile(r'"?stablehlo\.scatter"?\(.*?unique_indices = (true|false)', re.DOTALL)


def program(monkeypatch, model, method):
  """(a small program that sums duplicates by `method`, its schema)."""
  monkeypatch.setattr(duplicates, 'default_method', lambda platform: method)
  fields = tuple(schema_lib.Field(f'field_{i}', 'categorical', 50) for i in range(3))
  schema = schema_lib.FeatureSchema(fields, ('label',), None, {}, '', {})
  config = settings.make(model, {'width': 8, 'views': 2, 'embedding_dim': 8, 'batch_size': 16})
  return train.program(config, schema), schema


def scatters(fn, *arguments):
  """Of a function lowered for CUDA: whether each scatter's indices are promised to be distinct."""
  text = jax.jit(fn).trace(*arguments).lower(lowering_platforms=('cuda',)).as_text()
  return [unique == 'true' for unique in SCATTER.findall(text)]


def scatters_of_step(monkeypatch, model, method):
  run, schema = program(monkeypatch, model, method)
  batch = {
    'ids_BxF': jnp.zeros((16, 3), jnp.int32),
    'label_BxT': jnp.zeros((16, 1)),
    'weight_B': jnp.ones(16),
  }
  return scatters(
    functools.partial(train.train_step, run),
    train.abstract_state(run, schema),
    train.zero_sums(),
    batch,
  )


@pytest.mark.parametrize('model', models.NAMES)
def test_no_step_on_a_gpu_adds_with_colliding_writes(monkeypatch, model):
  """They are slow there (github.com/jax-ml/jax/issues/38806), and their order changes from run to
  run.
  """
  assert duplicates.default_method('gpu') == 'sort'
  found = scatters_of_step(monkeypatch, model, 'sort')
  assert len(found) == 3 and all(found)  # the table and both moments


def test_nor_do_trials_side_by_side_on_several_gpus(monkeypatch):
  run, schema = program(monkeypatch, 'ssr_s', 'sort')
  monkeypatch.setattr(trials, 'over_trials', lambda fn, states: jax.vmap(fn)(states))
  mesh = jax.make_mesh(
    (2,), (trials.AXIS,), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2]
  )
  advance = trials.on_each_device(mesh, functools.partial(feeds.advance_resident, run))
  configs = [dataclasses.replace(run.config, seed=seed) for seed in range(4)]
  states = train.init_trials(run, schema, configs, jax.NamedSharding(mesh, jax.P(trials.AXIS)))
  data = {'ids_BxF': jnp.zeros((64, 3), jnp.int32), 'label_BxT': jnp.zeros((64, 1), jnp.uint8)}
  found = scatters(advance, states, data, np.int32(3))
  assert len(found) == 3 and all(found)


def test_colliding_writes_would_be_noticed(monkeypatch):
  assert not all(scatters_of_step(monkeypatch, 'dense_mlp', 'scratch'))
