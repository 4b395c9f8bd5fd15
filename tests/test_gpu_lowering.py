"""What a GPU would run, lowered without one."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest

from rec_sparse import config as config_lib
from rec_sparse import models
from rec_sparse import schema as schema_lib
from rec_sparse import train
from rec_sparse.embedding import duplicates

SCATTER = re.compile(r'"?stablehlo\.scatter"?\(.*?unique_indices = (true|false)', re.DOTALL)


def scatters(monkeypatch, model, method):
  """Of a training step lowered for CUDA: whether each scatter's indices are promised to be distinct."""
  monkeypatch.setattr(duplicates, 'default_method', lambda platform: method)
  fields = tuple(schema_lib.Field(f'field_{i}', 'categorical', 50) for i in range(3))
  schema = schema_lib.FeatureSchema(fields, ('label',), None, {}, '', {})
  config = config_lib.make(model, {'width': 8, 'views': 2, 'embedding_dim': 8, 'batch_size': 16})
  run = train.program(config, schema)
  batch = {'ids_BxF': jnp.zeros((16, 3), jnp.int32), 'label_BxT': jnp.zeros((16, 1))}
  step = jax.jit(functools.partial(train.train_step, run))
  arguments = train.abstract_state(run, schema), train.zero_sums(), batch
  text = step.trace(*arguments).lower(lowering_platforms=('cuda',)).as_text()
  return [unique == 'true' for unique in SCATTER.findall(text)]


@pytest.mark.parametrize('model', models.MODELS)
def test_no_step_on_a_gpu_adds_with_colliding_writes(monkeypatch, model):
  """They are slow there (github.com/jax-ml/jax/issues/38806), and their order changes from run to run."""
  assert duplicates.default_method('gpu') == 'sort'
  found = scatters(monkeypatch, model, 'sort')
  assert len(found) == 3 and all(found)  # the table and both moments


def test_colliding_writes_would_be_noticed(monkeypatch):
  assert not all(scatters(monkeypatch, 'dense_mlp', 'scratch'))
