"""Every architecture: analytic sizes against the real network, shapes, and the equations on a small case."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse import config as config_lib
from rec_sparse import models
from rec_sparse.sparsity import ics

FIELDS, DIM = 6, 8


def build(model, tasks=1, **overrides):
  config = config_lib.make(model, {'width': 16, 'depth': 2, 'views': 4, 'embedding_dim': DIM} | overrides)
  architecture = models.MODELS[model]
  module = architecture.module(config, tasks)
  filters = architecture.filters(config, FIELDS * DIM, 0)
  rows_BxFxD = jax.random.normal(jax.random.key(0), (5, FIELDS, DIM))
  made = module.apply({'filters': filters}, rows_BxFxD, train=False, rngs={'params': jax.random.key(1)},
                      mutable=['params', 'batch_stats'])[1]
  return config, module, {'filters': filters} | made, rows_BxFxD


def dense_count(params):
  return sum(leaf.size for name, part in params.items() if name != 'input' for leaf in jax.tree.leaves(part))


@pytest.mark.parametrize('model', models.MODELS)
@pytest.mark.parametrize('overrides', [{}, {'depth': 1}, {'depth': 3, 'width': 12, 'views': 2}])
def test_analytic_parameters_equal_the_counted_ones(model, overrides):
  config, _, variables, _ = build(model, tasks=2, **overrides)
  assert models.MODELS[model].cost(config, FIELDS * DIM, 2).params == dense_count(variables['params'])


@pytest.mark.parametrize('model', models.MODELS)
def test_analytic_flops_follow_the_compiled_program(model):
  """XLA counts elementwise work too, so its number is above ours, but of the same size on wide layers."""
  config, module, variables, rows_BxFxD = build(model, width=48)
  forward = jax.jit(lambda rows: module.apply(variables, rows, train=False))
  counted = forward.lower(rows_BxFxD).compile().cost_analysis()['flops'] / len(rows_BxFxD)
  ours = models.MODELS[model].cost(config, FIELDS * DIM, 1).flops
  assert ours <= counted * 1.01
  assert counted < 1.6 * ours


@pytest.mark.parametrize('model', models.MODELS)
def test_logits_are_float32_and_dropout_acts_in_training_only(model):
  _, module, variables, rows_BxFxD = build(model, tasks=3, dropout=0.5, embedding_dropout=0.2)
  first, second = (module.apply(variables, rows_BxFxD, train=False) for _ in range(2))
  assert first.shape == (5, 3) and first.dtype == jnp.float32
  np.testing.assert_array_equal(first, second)
  noisy = [module.apply(variables, rows_BxFxD, train=True, rngs={'dropout': jax.random.key(i)},
                        mutable=['batch_stats'])[0] for i in range(2)]
  assert (noisy[0] != noisy[1]).any()


@pytest.mark.parametrize('norm', ['batch', 'layer', 'none'])
def test_input_norm_is_the_same_block_in_every_model(norm):
  blocks = [build(model, input_norm=norm)[2]['params'].get('input', {}) for model in models.MODELS]
  shapes = [jax.tree.map(jnp.shape, block) for block in blocks]
  assert shapes[0] == shapes[1] == shapes[2]


def layer_norm(z_BxH, scale_H, bias_H):
  centred = z_BxH - z_BxH.mean(-1, keepdims=True)
  return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * scale_H[None] + bias_H[None]


@pytest.mark.parametrize('model', ['ssr_s', 'ssr_d'])
def test_ssr_equals_its_equations_view_by_view(model):
  """Equations 3 to 9 and 14 written out for one view at a time, batch-major."""
  config, module, variables, rows_BxFxD = build(model, input_norm='none', view_widths=(10, 6))
  params = jax.tree.map(np.asarray, variables['params'])
  x_BxN = np.asarray(rows_BxFxD).reshape(5, -1)
  for i in range(2):
    outputs = []
    for v in range(config.views):
      if model == 'ssr_s':
        h_BxK = x_BxN[:, variables['filters'][f'layer_{i}'].indices_VxK[v]]
      else:
        own = params[f'filter_{i}']
        h_BxK = np.asarray(ics.ics_iterated(jnp.asarray(x_BxN @ own['kernel'][v]), own['alpha'][v], own['gamma'][v], -1))
      own = params[f'layer_{i}']
      z_BxH = np.asarray(jax.nn.gelu(h_BxK @ own['kernel'][v] + own['bias'][v][None]))
      outputs.append(layer_norm(z_BxH, own['norm']['scale'][v], own['norm']['bias'][v]))
    x_BxN = np.concatenate(outputs, -1)
  head = params['head']['linear']
  expected = np.mean(outputs, 0) @ head['kernel'] + head['bias'][None]
  np.testing.assert_allclose(module.apply(variables, rows_BxFxD, train=False), expected, atol=2e-5)
