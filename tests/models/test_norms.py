"""Normalizations by the examples that count, and what evaluation makes of them."""

import jax
import jax.numpy as jnp
import numpy as np

from rec_sparse.models import layers
from rec_sparse.models import norms


def test_field_norm_in_training_has_the_statistics_of_the_examples_that_count():
  rng = np.random.default_rng(1)
  rows_BxFxD = rng.normal(2, 3, (20, 4, 5)).astype(np.float32)
  params = {name: jnp.asarray(rng.normal(size=4), jnp.float32) for name in ('scale', 'bias')}
  start = {'mean': jnp.zeros(4), 'var': jnp.ones(4), 'examples': jnp.float32(0)}
  weight_B = jnp.arange(20) < 13
  found_BxFxD, changed = norms.FieldNorm().apply(
    {'params': params, 'batch_stats': start},
    rows_BxFxD,
    weight_B.astype(jnp.float32),
    train=True,
    mutable=['batch_stats'],
  )
  mean_F, var_F = rows_BxFxD[:13].mean((0, 2)), rows_BxFxD[:13].var((0, 2))
  normal_BxFxD = (rows_BxFxD - mean_F[None, :, None]) / np.sqrt(var_F)[None, :, None]
  expected = normal_BxFxD * params['scale'][None, :, None] + params['bias'][None, :, None]
  np.testing.assert_allclose(found_BxFxD, expected, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(changed['batch_stats']['mean'], mean_F, rtol=1e-5)
  np.testing.assert_allclose(changed['batch_stats']['var'], var_F, rtol=1e-4)


def linear(norm, variables, x_NxB, weight_B=None, train=False):
  """(y_HxB, the averages after it)."""
  module = layers.Linear(5, norm)
  y_HxB, changed = module.apply(variables, x_NxB, weight_B, train=train, mutable=['batch_stats'])
  return y_HxB, variables | changed


def made(norm):
  """(variables with gains and biases of all kinds, what the layer is without its normalization)."""
  rng = np.random.default_rng(2)
  params = {
    'kernel': jnp.asarray(rng.normal(size=(3, 5)), jnp.float32),
    'bias': jnp.asarray(rng.normal(size=5), jnp.float32),
  }
  norm_params = {name: jnp.asarray(rng.normal(size=5), jnp.float32) for name in ('scale', 'bias')}
  start = {'mean': jnp.zeros(5), 'var': jnp.ones(5), 'examples': jnp.float32(0)}
  variables = {'params': params | {'norm': norm_params}}
  if norm == 'batch':
    variables['batch_stats'] = {'norm': start}
  return variables, lambda x_NxB: params['kernel'].T @ x_NxB + params['bias'][:, None]


def test_hidden_units_are_normalized_over_the_examples_that_count():
  rng = np.random.default_rng(3)
  variables, plain = made('batch')
  gain = variables['params']['norm']
  weight_B = (np.arange(20) < 13).astype(np.float32)
  means, squares = [], []
  for _ in range(2):
    x_NxB = rng.normal(1, 2, (3, 20)).astype(np.float32)
    y_HxB = np.asarray(plain(x_NxB))
    mean_H, var_H = y_HxB[:, :13].mean(1), y_HxB[:, :13].var(1)
    found_HxB, variables = linear('batch', variables, x_NxB, weight_B, train=True)
    normal_HxB = (y_HxB - mean_H[:, None]) / np.sqrt(var_H + 1e-5)[:, None]
    want_HxB = normal_HxB * gain['scale'][:, None] + gain['bias'][:, None]
    np.testing.assert_allclose(found_HxB, want_HxB, rtol=1e-4, atol=1e-5)
    means.append(mean_H)
    squares.append(var_H)

  mean_H = np.average(means, 0, [0.9, 1])
  var_H = np.average(squares, 0, [0.9, 1])
  normal_HxB = (y_HxB - mean_H[:, None]) / np.sqrt(var_H + 1e-5)[:, None]
  want_HxB = normal_HxB * gain['scale'][:, None] + gain['bias'][:, None]
  found_HxB, after = linear('batch', variables, x_NxB)
  np.testing.assert_allclose(found_HxB, want_HxB, rtol=1e-4, atol=1e-5)
  jax.tree.map(np.testing.assert_array_equal, after, variables)


def test_evaluation_pays_for_a_batch_normalization_once_not_per_example():
  """The affine goes into the kernel: nothing of the size of the batch is multiplied by it."""
  variables, _ = made('batch')

  def flops(norm):
    compiled = jax.jit(lambda x_NxB: linear(norm, variables, x_NxB)[0]).lower(jnp.ones((3, 999)))
    return compiled.compile().cost_analysis()['flops']

  assert flops('batch') < flops('none') + 200 < flops('layer')


def test_layer_normalization_of_hidden_units_looks_at_one_example():
  variables, plain = made('layer')
  x_NxB = np.random.default_rng(4).normal(size=(3, 7)).astype(np.float32)
  y_HxB = np.asarray(plain(x_NxB))
  normal_HxB = (y_HxB - y_HxB.mean(0)) / np.sqrt(y_HxB.var(0) + 1e-6)
  gain = variables['params']['norm']
  want_HxB = normal_HxB * gain['scale'][:, None] + gain['bias'][:, None]
  for train in (False, True):
    found_HxB, _ = linear('layer', variables, x_NxB, train=train)
    np.testing.assert_allclose(found_HxB, want_HxB, rtol=1e-4, atol=1e-5)
