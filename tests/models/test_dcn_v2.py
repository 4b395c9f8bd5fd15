"""DCN-V2 against its equations written out batch-major, in both structures."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse import models
from rec_sparse import settings
from rec_sparse.models.architecture import Inputs

FIELDS, DIM = 5, 4


def inputs_of(tasks):
  return Inputs(FIELDS, DIM, tasks)


def build(**overrides):
  config = settings.make(
    'dcn_v2', {'width': 16, 'depth': 2, 'embedding_dim': DIM, 'input_norm': 'none'} | overrides
  )
  module = models.find('dcn_v2').module(config, inputs_of(1))
  rows_BxFxD = jax.random.normal(jax.random.key(0), (7, FIELDS, DIM))
  init = jax.jit(functools.partial(module.init, train=False))
  params = nn.meta.unbox(init(jax.random.key(1), {'embedding': rows_BxFxD})['params'])
  # biases start at 0, where a mistake in them would not show
  noise = iter(jax.random.split(jax.random.key(2), 64))
  params = jax.tree.map(
    lambda leaf: leaf + 0.1 * jax.random.normal(next(noise), leaf.shape), params
  )
  return config, module, params, rows_BxFxD


@pytest.mark.parametrize('structure', ['parallel', 'stacked'])
@pytest.mark.parametrize('cross_layers', [1, 3])
def test_logits_equal_the_equations(structure, cross_layers):
  _, module, params, rows_BxFxD = build(structure=structure, cross_layers=cross_layers)
  x0_BxN = x_BxN = np.asarray(rows_BxFxD).reshape(7, -1)
  own = jax.tree.map(np.asarray, params)
  for i in range(cross_layers):
    x_BxN = x0_BxN * (x_BxN @ own[f'cross_{i}']['kernel'] + own[f'cross_{i}']['bias'][None]) + x_BxN
  hidden_BxH = x0_BxN if structure == 'parallel' else x_BxN
  for i in range(2):
    hidden_BxH = np.maximum(
      hidden_BxH @ own[f'layer_{i}']['kernel'] + own[f'layer_{i}']['bias'][None], 0
    )
  if structure == 'parallel':
    hidden_BxH = np.concatenate([x_BxN, hidden_BxH], 1)
  expected = hidden_BxH @ own['head']['linear']['kernel'] + own['head']['linear']['bias'][None]
  np.testing.assert_allclose(
    module.apply({'params': params}, {'embedding': rows_BxFxD}, train=False),
    expected,
    rtol=1e-4,
    atol=1e-4,
  )


@pytest.mark.parametrize(
  'overrides',
  [
    {'structure': 'stacked'},
    {'structure': 'parallel', 'head_hidden': (6,)},
    {'cross_layers': 1, 'depth': 1},
  ],
)
def test_every_option_has_the_counted_parameters_and_gradients(overrides):
  config, module, params, rows_BxFxD = build(**overrides)
  counted = sum(leaf.size for leaf in jax.tree.leaves(params))
  assert models.find('dcn_v2').cost(config, inputs_of(1)).params == counted

  def loss(p):
    return jnp.sum(module.apply({'params': p}, {'embedding': rows_BxFxD}, train=False) ** 2)

  grads = jax.jit(jax.grad(loss))(params)
  assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(grads))


def test_wrong_options_name_the_field():
  with pytest.raises(ValueError, match='cross_layers=0'):
    settings.make('dcn_v2', {'cross_layers': 0})
  with pytest.raises(ValueError, match="structure='both'"):
    settings.make('dcn_v2', {'structure': 'both'})
