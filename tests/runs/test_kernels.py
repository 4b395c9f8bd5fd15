"""Analyses of a model that is none of ours: other names and shapes of parameters, options that are
called as ours are.
"""

import dataclasses
import pathlib
import sys
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse import flops
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.config import setting
from rec_sparse.models.architecture import Architecture
from rec_sparse.models.marks import marked
from rec_sparse.runs import activations
from rec_sparse.runs import analysis
from rec_sparse.runs import density
from rec_sparse.runs import identity
from rec_sparse.runs import kernels
from rec_sparse.runs import pruning
from rec_sparse.runs import restored

normal = nn.initializers.normal(0.1)


@dataclasses.dataclass(frozen=True)
class Options:
  """Names that SSR uses for something else."""

  gate: str = setting('open', 'no gate')
  filter: str = setting('learned', 'no filter')
  has_kernels: bool = setting(True, 'whether what multiplies is marked')


class Odd(nn.Module):
  """Batch-major; a stack of experts of one input, a weight for each number, and no `kernel`."""

  config: object
  inputs: object

  @nn.compact
  def __call__(self, rows, weight_B=None, *, train):
    decays = self.config.options.has_kernels
    x_BxN = rows['embedding'].reshape(len(rows['embedding']), -1)
    hidden_BxJ = Experts(decays, name='experts')(x_BxN)
    gains_init = marked(normal, decays=decays)
    gains_N = self.param('gains', gains_init, x_BxN.shape[1:])
    out_init = marked(normal, decays=decays)
    out_JxT = self.param('out', out_init, (hidden_BxJ.shape[1], self.inputs.tasks))
    return hidden_BxJ @ out_JxT + (x_BxN @ gains_N)[:, None]


class Experts(nn.Module):
  """Three of five units."""

  decays: bool

  @nn.compact
  def __call__(self, x_BxN):
    init = marked(normal, 'views', decays=self.decays, shared_inputs=True)
    w_VxNxH = self.param('w', init, (3, x_BxN.shape[1], 5))
    return jnp.tanh(jnp.einsum('bn,vnh->bvh', x_BxN, w_VxNxH)).reshape(len(x_BxN), -1)


def constants(config, inputs, seed):
  return {'experts': {'indices_VxK': np.zeros((3, 2), np.int32)}}


@pytest.fixture
def opened(monkeypatch):
  """A function of has_kernels: the run of such a model, never trained."""
  module = types.ModuleType('odd_model')
  module.ARCHITECTURE = Architecture(
    Odd,
    lambda config, inputs: flops.Cost(0, 0),
    Options,
    constants=constants,
    knobs=('width', 'views'),
  )
  monkeypatch.setitem(sys.modules, 'odd_model', module)

  def run(has_kernels=True):
    config = settings.make('odd_model', {'embedding_dim': 4, 'has_kernels': has_kernels})
    fields = [schema_lib.Field(name, 'categorical', 9) for name in 'ab']
    schema = schema_lib.FeatureSchema(tuple(fields), ('click',), None, {}, '', {})
    nowhere = pathlib.Path('/nowhere')
    return restored.Restored(config, 0, (0,), identity.metadata(schema), nowhere, nowhere, None)

  monkeypatch.setattr(restored, 'item', lambda run, name: restored.initial(run, name))
  return run


def test_kernels_are_what_decays_whatever_its_name_and_shape(opened):
  found = kernels.of(opened(), restored.initial(opened(), 'dense'))
  shapes = {name: kernel.weights.shape for name, kernel in found.items()}
  assert shapes == {'experts/w': (3, 8, 5), 'gains': (8, 1), 'out': (15, 1)}
  layers = analysis.implicit_sparsity(opened()).numbers['layers']
  assert layers['experts/w']['shape'] == [8, 15] and layers['gains']['shape'] == [8, 1]


def test_views_are_kernels_that_share_their_inputs(opened):
  layers = analysis.views(opened()).numbers['layers']
  assert np.shape(layers['experts/w']['cosine']['matrix']) == (3, 3) and len(layers) == 1


def test_options_that_sound_like_ours_are_not_taken_for_them(opened):
  with pytest.raises(restored.Unavailable, match='odd_model has no competition'):
    analysis.ics(opened())


@pytest.mark.parametrize('what', ['implicit_sparsity', 'views'])
def test_without_a_mark_there_is_no_kernel(opened, what):
  with pytest.raises(restored.Unavailable, match='none of its parameters is marked as a kernel'):
    analysis.ANALYSES[what](opened(has_kernels=False))


def test_units_of_a_batch_major_model_without_dropout(opened, monkeypatch):
  monkeypatch.setattr(activations, 'CHUNK', 20)
  run = opened()
  program = train.program(run.config, run.schema)
  state = train.init(program, run.schema)
  ids_BxF = np.stack([np.arange(30) % 9, 9 + np.arange(30) % 7], 1)
  found = activations.hidden(program, kernels.marks(run), state, {'ids_BxF': ids_BxF})
  rows_BxFxD = state.table.rows_RxD[ids_BxF]
  w_VxNxH = state.params['experts']['w']
  expected = jnp.tanh(jnp.einsum('bn,vnh->vhb', rows_BxFxD.reshape(30, -1), w_VxNxH))
  assert list(found) == ['experts']
  np.testing.assert_allclose(found['experts'], expected.reshape(15, 30), atol=1e-7)


def subject_of(model, **options):
  """A network at step 0, as if it were a run that was restored."""
  config = settings.make(model, {'width': 4, 'embedding_dim': 4} | options)
  fields = tuple(schema_lib.Field(name, 'categorical', 9) for name in 'ab')
  schema = schema_lib.FeatureSchema(fields, ('click',), None, {}, '', {})
  program = train.program(config, schema)
  run = restored.Restored(config, 0, (0,), identity.metadata(schema), None, None, None)
  return pruning.Subject(run, schema, program, train.init(program, schema), None)


@pytest.mark.parametrize('model', ['dense_mlp', 'dcn_v2', 'ssr_s', 'ssr_d'])
def test_units_of_every_model_are_what_its_layers_pass_on(model):
  subject = subject_of(model, views=2)
  batch = {'ids_BxF': np.stack([np.arange(8), 9 + np.arange(8)], 1)}
  marks = kernels.marks(subject.run)
  found = activations.hidden(subject.program, marks, subject.state, batch)
  units = 4 * (2 if model.startswith('ssr') else 1)
  assert {name: layer.shape for name, layer in found.items()} == {
    'layer_0': (units, 8),
    'layer_1': (units, 8),
  }
  if units == 4:
    assert all((layer >= 0).all() and (layer == 0).any() for layer in found.values())  # after ReLU
  assert jax.tree.leaves(found)[0].dtype == np.float32


@pytest.mark.parametrize(
  'model, options, acting',
  [
    ('ssr_s', {'filter': 'learned', 'views': 2}, 2 * 4 * 4 + 2 * 4 * 4 + 4),
    ('dense_mlp', {'sparsity': 'static', 'density': 0.25}, round(0.25 * (8 * 4 + 4 * 4 + 4))),
  ],
)
def test_what_a_filter_or_a_mask_leaves_out_is_no_weight(model, options, acting):
  subject = subject_of(model, **options)
  scores = pruning.scores_by_size(subject)
  assert pruning.weights(scores) == acting

  masks = pruning.keep_largest(subject, scores, 0.5)
  kept = pruning.pruned(subject, masks)
  assert sum(int(mask.sum()) for mask in jax.tree.leaves(masks)) == round(acting / 2)
  weights = [kernel.weights for kernel in kernels.of(subject.run, kept._asdict()).values()]
  assert sum(np.count_nonzero(weight) for weight in weights) == round(acting / 2)
  assert max(pruning.kept_shares(scores, masks).values()) <= 1


def test_what_is_not_deployed_is_not_pruned():
  with pytest.raises(restored.Unavailable, match='reaction deploys a part of what it trains'):
    subject = subject_of('reaction')
    density._dense_params(subject, pruning.weights(pruning.scores_by_size(subject)))
