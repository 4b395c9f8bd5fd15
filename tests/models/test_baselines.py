"""Each baseline against its equations, written otherwise than its code, or a published number."""

import functools
import itertools

import flax.linen as nn
import jax
import numpy as np
import pytest

from rec_sparse import models
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.models import autoint
from rec_sparse.models.architecture import Inputs

FIELDS, DIM, BATCH = 5, 4, 3
PUBLISHED = {'avazu': 23, 'ali_ccp': 18, 'criteo': 39}  # fields of 16


@functools.cache
def network(model, tasks=1, **overrides):
  """(its jitted logits of variables and rows, random variables, random rows)."""
  small = {'width': 8, 'depth': 2, 'embedding_dim': DIM, 'input_norm': 'none'}
  inputs = Inputs(FIELDS, DIM, tasks)
  config = settings.make(model, small | overrides)
  architecture = models.find(model)
  module = architecture.module(config, inputs)
  rng = np.random.default_rng(3)
  rows = {
    purpose: rng.standard_normal((BATCH, FIELDS, width)).astype(np.float32)
    for purpose, width in architecture.columns(config, inputs).items()
  }

  def init(rows):
    key = {'params': jax.random.key(1)}
    return module.apply({}, rows, train=False, rngs=key, mutable=['params', *train.MOVING])[1]

  def anywhere(leaf):
    return np.abs(rng.normal(0, 0.4, leaf.shape)).astype(np.float32) - 0.1

  made = nn.meta.unbox(jax.eval_shape(init, rows))
  variables = {name: jax.tree.map(anywhere, made.get(name, {})) for name in made}
  return jax.jit(functools.partial(module.apply, train=False)), variables, rows


def dense(params, x_BxN):
  """A linear layer, batch-major."""
  return x_BxN @ params['kernel'] + params['bias'][None]


def mlp(params, x_BxN):
  """All layer_i of a stack."""
  for i in range(sum(name.startswith('layer_') for name in params)):
    x_BxN = np.maximum(dense(params[f'layer_{i}'], x_BxN), 0)
  return x_BxN


def flat(rows_BxFxD):
  return rows_BxFxD.reshape(BATCH, -1)


def permuted(rows, order):
  return {purpose: rows_BxFxD[:, order] for purpose, rows_BxFxD in rows.items()}


def test_lr_is_a_linear_layer_on_one_hot_values():
  forward, variables, rows = network('lr', tasks=2)
  expected = [sum(row_FxT) + variables['params']['bias'] for row_FxT in rows['embedding']]
  np.testing.assert_allclose(forward(variables, rows), expected, rtol=1e-5)


def inner_products(rows_BxFxD):
  """By the double loop over pairs of fields."""
  pairs = itertools.combinations(range(FIELDS), 2)
  return sum(np.sum(rows_BxFxD[:, f] * rows_BxFxD[:, g], 1) for f, g in pairs)


def test_fm_is_the_double_loop_over_pairs():
  forward, variables, rows = network('fm', tasks=2)
  expected_BxT = rows['linear'].sum(1) + variables['params']['bias'][None]
  expected_BxT = expected_BxT + inner_products(rows['embedding'])[:, None]
  np.testing.assert_allclose(forward(variables, rows), expected_BxT, rtol=1e-4, atol=1e-5)


def test_deepfm_is_its_two_parts():
  forward, variables, rows = network('deepfm')
  params = variables['params']
  deep_Bx1 = dense(params['head']['linear'], mlp(params, flat(rows['embedding'])))
  expected_Bx1 = deep_Bx1 + rows['linear'].sum(1) + inner_products(rows['embedding'])[:, None]
  np.testing.assert_allclose(forward(variables, rows), expected_Bx1, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('model', ['lr', 'fm'])
def test_the_order_of_fields_does_not_matter(model):
  forward, variables, rows = network(model)
  order = np.array([3, 0, 4, 1, 2])
  expected = forward(variables, rows)
  np.testing.assert_allclose(forward(variables, permuted(rows, order)), expected, rtol=1e-5)


def attention(params, heads, e_FxD):
  """One layer on one example, head by head and field by field."""
  query, key, value, residual = (
    e_FxD @ params[name]['across']['linear']['kernel']
    for name in ('query', 'key', 'value', 'residual')
  )
  parts = np.split(np.arange(query.shape[1]), heads)
  out = np.zeros_like(query)
  for part in parts:
    for f in range(len(e_FxD)):
      scores = [np.dot(query[f, part], key[g, part]) for g in range(len(e_FxD))]
      weights = np.exp(scores) / np.sum(np.exp(scores))
      out[f, part] = sum(weight * value[g, part] for g, weight in enumerate(weights))
  return np.maximum(out + residual, 0)


def test_autoint_attends_head_by_head():
  """A reshape without a transpose would mix fields, and still give numbers of the right shape."""
  forward, variables, rows = network('autoint', beside=(6,))
  params = variables['params']
  outputs = []
  for e_FxD in rows['embedding']:
    for i in range(2):
      e_FxD = attention(params[f'attention_{i}'], 2, e_FxD)
    outputs.append(e_FxD.reshape(-1))
  both = np.concatenate([outputs, mlp(params['beside'], flat(rows['embedding']))], 1)
  expected = dense(params['head']['linear'], both)
  np.testing.assert_allclose(forward(variables, rows), expected, rtol=1e-4)


def test_permuted_fields_permute_what_attention_gives():
  layer = autoint.Attention(6, 3)
  e_FxDxB = jax.random.normal(jax.random.key(0), (FIELDS, DIM, BATCH))
  variables = jax.jit(layer.init)(jax.random.key(1), e_FxDxB)
  order = np.array([3, 0, 4, 1, 2])
  forward = jax.jit(layer.apply)
  out = forward(variables, e_FxDxB)
  np.testing.assert_allclose(forward(variables, e_FxDxB[order]), out[order], atol=1e-6)


def test_finalmlp_fuses_part_by_part():
  forward, variables, rows = network('finalmlp', tasks=2, second_widths=(6, 4), gates=True)
  params = variables['params']
  x_BxN = flat(rows['embedding'])
  outputs = []
  for name in ('first', 'second'):
    gate_1xN = 2 * np.asarray(nn.sigmoid(params[f'gate_{name}']['gate']))[None]
    outputs.append(mlp(params[name], gate_1xN * x_BxN))
  expected_BxT = np.array(dense(params['head']['linear'], np.concatenate(outputs, 1)))
  for task, head in itertools.product(range(2), range(2)):
    kernel_NxH = params['product']['kernel'][task, head]
    first, second = (np.split(output, 2, 1)[head] for output in outputs)
    for b in range(BATCH):
      expected_BxT[b, task] += first[b] @ kernel_NxH @ second[b]
  np.testing.assert_allclose(forward(variables, rows), expected_BxT, rtol=1e-4)


def test_dualmlp_is_the_sum_of_two_mlps():
  forward, variables, rows = network('finalmlp', fusion='sum')
  params = variables['params']
  kernels = np.split(params['head']['linear']['kernel'], 2)
  outputs = [mlp(params[name], flat(rows['embedding'])) for name in ('first', 'second')]
  logits = sum(output @ kernel for output, kernel in zip(outputs, kernels, strict=True))
  expected = logits + params['head']['linear']['bias'][None]
  np.testing.assert_allclose(forward(variables, rows), expected, rtol=1e-4)


@pytest.mark.parametrize(
  'model, data, params, overrides',
  [
    ('deepfm', 'avazu', 226_305, {'width': 256, 'depth': 3}),
    ('deepfm', 'ali_ccp', 205_825, {'width': 256, 'depth': 3}),
    ('deepfm', 'criteo', 291_841, {'width': 256, 'depth': 3}),
  ],
)
def test_published_parameter_counts(model, data, params, overrides):
  """Those of SSR's table 3, without the table."""
  config = settings.make(model, {'embedding_dim': 16} | overrides)
  assert models.find(model).cost(config, Inputs(PUBLISHED[data], 16, 1)).params == params


@pytest.mark.parametrize(
  'model, overrides, sentence',
  [
    ('lr', {'head_hidden': (4,)}, 'head_hidden=4: lr has no head'),
    ('fm', {'hidden_norm': 'batch'}, 'hidden_norm=batch: fm has no layers'),
    ('autoint', {'attention_heads': 3}, 'attention_heads=3: expected a divisor of width=8'),
    ('autoint', {'hidden_norm': 'layer'}, 'hidden_norm=layer: autoint has no layers'),
    ('finalmlp', {'depth': 0}, 'depth=0: expected at least 1'),
    ('finalmlp', {'second_widths': (5,)}, 'fusion_heads=2: expected a divisor of 5'),
  ],
)
def test_settings_that_do_not_fit_name_the_field(model, overrides, sentence):
  with pytest.raises(ValueError, match=sentence):
    settings.make(model, {'width': 8} | overrides)
