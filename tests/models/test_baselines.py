"""Each baseline against its equations, written otherwise than its code, or a published number."""

import functools
import itertools
import operator

import flax.linen as nn
import jax
import numpy as np
import pytest

from rec_sparse import models
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.models import autoint
from rec_sparse.models import dlrm
from rec_sparse.models import parts
from rec_sparse.models import rankmixer
from rec_sparse.models.architecture import Inputs

FIELDS, DIM, BATCH = 5, 4, 3
MIXTURE = {'width': 256, 'depth': 2, 'cross': 'mixture', 'cross_layers': 2}
TOKENS = {'tokens': 16, 'depth': 2, 'head_hidden': (64,)}
PUBLISHED = {'avazu': 23, 'ali_ccp': 18, 'criteo': 39}  # fields of 16


@functools.cache
def network(model, tasks=1, **overrides):
  """(its jitted logits of variables and rows, random variables, random rows)."""
  small = {'width': 8, 'depth': 2, 'embedding_dim': DIM, 'input_norm': 'none'}
  inputs = Inputs(FIELDS, DIM, tasks)
  config = settings.make(model, small | overrides)
  architecture = models.find(model)
  module = architecture.module(config, inputs)
  filters = {'constants': architecture.constants(config, inputs, 0)}
  rng = np.random.default_rng(3)
  rows = {
    purpose: rng.standard_normal((BATCH, FIELDS, width)).astype(np.float32)
    for purpose, width in architecture.columns(config, inputs).items()
  }

  def init(rows):
    key = {'params': jax.random.key(1)}
    return module.apply(filters, rows, train=False, rngs=key, mutable=['params', *train.MOVING])[1]

  def anywhere(leaf):
    return np.abs(rng.normal(0, 0.4, leaf.shape)).astype(np.float32) - 0.1

  made = nn.meta.unbox(jax.eval_shape(init, rows))
  variables = filters | {name: jax.tree.map(anywhere, made.get(name, {})) for name in made}
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


def test_kept_pairs_are_weighted_products_of_these_pairs_alone():
  kept = (7, 0, 3)
  forward, variables, rows = network('fm', kept_pairs=kept)
  every = list(itertools.combinations(range(FIELDS), 2))
  expected_B = rows['linear'].sum((1, 2)) + variables['params']['bias']
  weights = variables['params']['kept_pairs']['weight']
  for weight, (f, g) in zip(weights, [every[pair] for pair in kept], strict=True):
    expected_B = expected_B + weight * np.sum(rows['embedding'][:, f] * rows['embedding'][:, g], 1)
  np.testing.assert_allclose(forward(variables, rows)[:, 0], expected_B, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  'kept, problem',
  [((3, 3), 'kept_pairs=3,3: expected each pair once'), ((10,), 'have 5 fields, so 10 pairs')],
)
def test_kept_pairs_are_pairs_of_the_data(kept, problem):
  with pytest.raises(ValueError, match=problem):
    network('deepfm', kept_pairs=kept)


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


def layer_norm(params, x, axis):
  """By hand, with a gain and a bias for each unit along the axis."""
  shape = [-1 if i == axis % x.ndim else 1 for i in range(x.ndim)]
  centred = x - x.mean(axis, keepdims=True)
  normal = centred / np.sqrt((centred**2).mean(axis, keepdims=True) + 1e-6)
  return normal * params['scale'].reshape(shape) + params['bias'].reshape(shape)


def test_wukong_is_its_equations_with_the_whole_product_of_rows():
  """On matrices J x D of one example: (X X^T) Y, and X compressed where the rows differ."""
  forward, variables, rows = network('wukong', fm_rank=3, fm_hidden=(6,), top_widths=(7,))
  params = variables['params']
  outputs = []
  for x_JxD in rows['embedding']:
    for i in range(2):
      own = params[f'layer_{i}']
      product_1xN = ((x_JxD @ x_JxD.T) @ own['fm']).reshape(1, -1)
      normal_1xN = layer_norm(own['fm_norm'], product_1xN, 1)
      machine = dense(own['fm_out'], mlp(own['fm_hidden'], normal_1xN)).reshape(-1, DIM)
      linear = own['lcb']['linear']['kernel'].T @ x_JxD
      if i == 0:
        residual = own['residual']['linear']
        x_JxD = residual['kernel'].T @ x_JxD + residual['bias'][:, None]
      x_JxD = layer_norm(own['norm'], np.concatenate([machine, linear]) + x_JxD, 1)
    outputs.append(x_JxD.reshape(-1))
  assert 'residual' not in params['layer_1']
  expected = dense(params['head']['linear'], mlp(params['top'], np.array(outputs)))
  np.testing.assert_allclose(forward(variables, rows), expected, rtol=1e-3)


def test_token_mixing_is_a_permutation_and_its_own_inverse():
  x_VxDxB = np.arange(4 * 8 * 2).reshape(4, 8, 2)
  mixed = rankmixer.mix(x_VxDxB)
  assert sorted(mixed[..., 0].ravel()) == sorted(x_VxDxB[..., 0].ravel())
  np.testing.assert_array_equal(mixed[1, 4:6], x_VxDxB[2, 2:4])  # part 2 of new token 1
  np.testing.assert_array_equal(rankmixer.mix(mixed), x_VxDxB)


def test_tokens_are_whole_fields_each_in_one_token():
  for fields, tokens in ((23, 16), (39, 16), (6, 4), (4, 4)):
    groups = rankmixer.groups(fields, tokens)
    assert list(itertools.chain(*groups)) == list(range(fields))
    assert max(map(len, groups)) - min(map(len, groups)) <= 1
  assert rankmixer.groups(2, 3) == [range(1), range(1), range(1, 2)]


def gelu(x):
  return np.asarray(nn.gelu(x))


@pytest.mark.parametrize('experts', [0, 3])
def test_rankmixer_token_by_token_and_expert_by_expert(experts):
  forward, variables, rows = network('rankmixer', token_experts=experts, tokens=4, depth=1)
  params = variables['params']
  starts = (0, 1, 2, 3, 5)
  outputs = []
  for example in rows['embedding']:
    x = np.stack(
      [
        dense(params[f'token_{t}'], example[starts[t] : starts[t + 1]].reshape(1, -1))[0]
        for t in range(4)
      ]
    )
    mixed = np.stack([np.concatenate([token[2 * h : 2 * h + 2] for token in x]) for h in range(4)])
    s = layer_norm(params['mix_norm_0'], mixed + x, 1)
    own = []
    for t in range(4):
      of = jax.tree.map(operator.itemgetter(t), params['ffn_0'])
      hidden = gelu(dense(of['up'], s[t][None]))[0]
      gates = np.maximum(dense(of['router'], s[t][None])[0], 0) if experts else np.ones(1)
      blocks = np.split(hidden, len(gates))
      kernels = np.split(of['down']['kernel'], len(gates))
      parts_of = zip(gates, blocks, kernels, strict=True)
      own.append(sum(gate * (h @ kernel) for gate, h, kernel in parts_of) + of['down']['bias'])
    outputs.append(layer_norm(params['ffn_norm_0'], np.stack(own) + s, 1).mean(0))
  expected = dense(params['head']['linear'], np.array(outputs))
  np.testing.assert_allclose(forward(variables, rows), expected, rtol=1e-3, atol=1e-4)


def test_the_loss_of_routers_is_the_mean_of_what_they_give_to_real_examples():
  config = settings.make(
    'rankmixer', {'width': 8, 'tokens': 2, 'token_experts': 3, 'router_l1': 0.5}
  )
  layer = rankmixer.PerTokenFFN(config)
  x_VxDxB = jax.random.normal(jax.random.key(0), (2, 8, 4))
  weight_B = np.array([1, 1, 0, 1], np.float32)
  init = jax.jit(functools.partial(layer.init, train=False))
  params = nn.meta.unbox(init(jax.random.key(1), x_VxDxB, weight_B)['params'])
  sow = jax.jit(functools.partial(layer.apply, train=True, mutable='losses'))
  _, sown = sow({'params': params}, x_VxDxB, weight_B)
  router = params['router']['kernel']
  given = np.maximum(np.einsum('vdb,vdj->vjb', x_VxDxB, router), 0).sum((0, 1))
  np.testing.assert_allclose(
    sown['losses']['router_l1'][0], 0.5 * given[[0, 1, 3]].mean(), rtol=1e-5
  )


def test_mixing_of_fields_and_channels_is_a_wide_sparse_layer():
  """SSR's equations 1 and 2: vec(W X) = (I (x) W) vec(X), vec(X V) = (V^T (x) I) vec(X)."""
  x_FxDxB = np.random.default_rng(0).standard_normal((FIELDS, DIM, BATCH)).astype(np.float32)
  columns_NxB = x_FxDxB.swapaxes(0, 1).reshape(-1, BATCH)  # vec stacks columns
  for layer in (parts.Across(6, bias=False), parts.Within(6, bias=False)):
    variables = nn.meta.unbox(jax.jit(layer.init)(jax.random.key(1), x_FxDxB))
    kernel = np.asarray(jax.tree.leaves(variables)[0])
    is_across = isinstance(layer, parts.Across)
    wide = np.kron(np.eye(DIM), kernel.T) if is_across else np.kron(kernel.T, np.eye(FIELDS))
    out_NxB = np.asarray(layer.apply(variables, x_FxDxB)).swapaxes(0, 1).reshape(-1, BATCH)
    np.testing.assert_allclose(out_NxB, wide @ columns_NxB, atol=1e-5)


def test_mlp_mixer_is_its_equation_1():
  forward, variables, rows = network('mlp_mixer', depth=1)
  params = variables['params']
  outputs = []
  for x_FxD in rows['embedding']:
    up, down = (params[f'fields_0_{name}']['linear'] for name in ('up', 'down'))
    normal = layer_norm(params['fields_0_norm'], x_FxD, 1)
    u_FxD = x_FxD + dense(down, gelu(dense(up, normal.T))).T
    up, down = (params[f'channels_0_{name}']['across']['linear'] for name in ('up', 'down'))
    normal = layer_norm(params['channels_0_norm'], u_FxD, 1)
    y_FxD = u_FxD + dense(down, gelu(dense(up, normal)))
    outputs.append(layer_norm(params['norm'], y_FxD, 1).mean(0))
  expected = dense(params['head']['linear'], np.array(outputs))
  np.testing.assert_allclose(forward(variables, rows), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('blocks', ['parallel', 'serial'])
def test_masknet_is_its_equations(blocks):
  forward, variables, rows = network('masknet', blocks=blocks, top_widths=(6,))
  params = variables['params']
  embedding = flat(rows['embedding'])
  norm = params['embedding_norm']
  fields = [
    layer_norm({name: leaf[f] for name, leaf in norm.items()}, rows['embedding'][:, f], 1)
    for f in range(FIELDS)
  ]
  outputs = [np.concatenate(fields, 1)]
  for i in range(2):
    own = params[f'block_{i}']
    mask = dense(own['mask'], np.maximum(dense(own['aggregate'], embedding), 0))
    below = outputs[0] if blocks == 'parallel' else outputs[-1]
    normal = layer_norm(own['out']['norm'], dense(own['out'], mask * below), 1)
    outputs.append(np.maximum(normal, 0))
  out = np.concatenate(outputs[1:], 1) if blocks == 'parallel' else outputs[-1]
  expected = dense(params['head']['linear'], mlp(params['top'], out))
  np.testing.assert_allclose(forward(variables, rows), expected, rtol=1e-3, atol=1e-4)


def test_dlrm_multiplies_each_pair_of_fields_once():
  x_FxDxB = np.random.default_rng(0).standard_normal((FIELDS, DIM, BATCH)).astype(np.float32)
  pairs = itertools.combinations(range(FIELDS), 2)
  expected = [np.sum(x_FxDxB[f] * x_FxDxB[g], 0) for f, g in pairs]
  np.testing.assert_allclose(dlrm.products(x_FxDxB), expected, rtol=1e-4, atol=1e-5)


def field_norm(params, averages, x_BxFxD):
  """Of an evaluation."""
  scale = params['scale'] / np.sqrt(averages['var'] + 1e-6)
  shift = params['bias'] - averages['mean'] * scale
  return x_BxFxD * scale[None, :, None] + shift[None, :, None]


def test_afn_is_products_of_powers_also_near_zero():
  """And AFN+ reads embeddings of its own."""
  forward, variables, rows = network('afn', log_neurons=3, plus=(6,))
  variables['batch_stats'] = jax.tree.map(np.ones_like, variables['batch_stats'])
  rows['embedding'][0, 0, 0] = 0.0
  rows['embedding'][1, 2, 1] = -1e-30
  params = variables['params']
  own = params['logarithmic']
  averages = variables['batch_stats']['logarithmic']
  size_BxFxD = np.maximum(np.abs(rows['embedding']), 1e-5)
  gain_F = own['log_norm']['scale'] / np.sqrt(1 + 1e-6)
  power_BxFxD = (size_BxFxD / np.e) ** gain_F[None, :, None]
  power_BxFxD = power_BxFxD * np.exp(own['log_norm']['bias'])[None, :, None]
  products = [np.prod(power_BxFxD ** own['kernel'][None, :, j, None], 1) for j in range(3)]
  y_BxHxD = field_norm(own['exp_norm'], averages['exp_norm'], np.stack(products, 1))
  hidden = [mlp(params['hidden'], flat(y_BxHxD)), mlp(params['plus'], flat(rows['second']))]
  expected = dense(params['head']['linear'], np.concatenate(hidden, 1))
  np.testing.assert_allclose(forward(variables, rows), expected, rtol=1e-3, atol=1e-4)

  grads = jax.jit(jax.grad(lambda rows: forward(variables, rows).sum()))(rows)
  assert all(np.isfinite(leaf).all() for leaf in grads.values())


def test_mmoe_with_one_expert_is_an_mlp():
  forward, variables, rows = network('mmoe', experts=1)
  params = variables['params']
  plain, _, _ = network('dense_mlp')
  same = {'params': params['expert_0'] | {'head': params['head_0']}}
  np.testing.assert_allclose(forward(variables, rows), plain(same, rows), rtol=1e-5)


def softmax(x_BxN):
  return np.exp(x_BxN) / np.exp(x_BxN).sum(1, keepdims=True)


def test_mmoe_mixes_experts_for_each_task():
  forward, variables, rows = network('mmoe', tasks=2, experts=3)
  params = variables['params']
  x_BxN = flat(rows['embedding'])
  experts = [mlp(params[f'expert_{e}'], x_BxN) for e in range(3)]
  expected = []
  for k in range(2):
    gate_BxV = softmax(x_BxN @ params[f'gate_{k}']['kernel'])
    mixed = sum(gate_BxV[:, e, None] * experts[e] for e in range(3))
    expected.append(dense(params[f'head_{k}']['linear'], mixed))
  found = forward(variables, rows)
  np.testing.assert_allclose(found, np.concatenate(expected, 1), rtol=1e-4)


def test_a_mixture_of_cross_layers_expert_by_expert():
  forward, variables, rows = network('dcn_v2', cross='mixture', cross_rank=3, cross_experts=2)
  params = variables['params']
  x0_BxN = x_BxN = flat(rows['embedding'])
  for i in range(3):
    own = params[f'cross_{i}']
    gate_BxV = softmax(dense(own['gate'], x_BxN))
    experts = [
      np.tanh(np.tanh(x_BxN @ own['v'][e]) @ own['c'][e]) @ own['u'][e] + own['bias'][None]
      for e in range(2)
    ]
    x_BxN = x0_BxN * sum(gate_BxV[:, e, None] * experts[e] for e in range(2)) + x_BxN
  both = np.concatenate([x_BxN, mlp(params, x0_BxN)], 1)
  expected = dense(params['head']['linear'], both)
  np.testing.assert_allclose(forward(variables, rows), expected, rtol=1e-3)


@pytest.mark.parametrize(
  'model, data, params, overrides',
  [
    ('deepfm', 'avazu', 226_305, {'width': 256, 'depth': 3}),
    ('deepfm', 'ali_ccp', 205_825, {'width': 256, 'depth': 3}),
    ('deepfm', 'criteo', 291_841, {'width': 256, 'depth': 3}),
    ('dcn_v2', 'avazu', 361_177, MIXTURE),
    ('wukong', 'avazu', 169_409, {'width': 40, 'depth': 3, 'hidden_norm': 'batch'}),
    ('wukong', 'ali_ccp', 167_409, {'width': 40, 'depth': 3, 'hidden_norm': 'batch'}),
    ('wukong', 'criteo', 175_809, {'width': 40, 'depth': 3, 'hidden_norm': 'batch'}),
    ('rankmixer', 'avazu', 639_873, TOKENS | {'width': 96}),
    ('rankmixer', 'ali_ccp', 632_193, TOKENS | {'width': 96}),
    ('rankmixer', 'criteo', 1_148_033, TOKENS | {'width': 128}),
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
    ('rankmixer', {'tokens': 3}, 'tokens=3: expected a divisor of width=8'),
    ('rankmixer', {'router_l1': 0.1}, 'router_l1=0.1: expected 0 without token_experts'),
    ('mlp_mixer', {'hidden_norm': 'batch'}, 'hidden_norm=batch: mlp_mixer has no layers'),
    ('masknet', {'depth': 0}, 'depth=0: expected at least 1'),
    ('masknet', {'top_widths': (), 'hidden_norm': 'batch'}, 'hidden_norm=batch: masknet has no'),
    ('finalmlp', {'second_widths': (5,)}, 'fusion_heads=2: expected a divisor of 5'),
  ],
)
def test_settings_that_do_not_fit_name_the_field(model, overrides, sentence):
  with pytest.raises(ValueError, match=sentence):
    settings.make(model, {'width': 8} | overrides)
