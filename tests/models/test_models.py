"""Every architecture: analytic sizes against the real network, shapes, and the equations on a small
case.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse import models
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.models.architecture import Inputs
from rec_sparse.sparsity import gates
from rec_sparse.sparsity import ics

FIELDS, DIM = 6, 8
FUSED = (  # ways of `reaction` to train towers, besides its defaults
  {'tower_widths': (12, 20), 'towers': 3, 'hidden_norm': 'batch'},
  {'merge': 'branches', 'hidden_norm': 'batch', 'towers': 3},
  {'merge': 'branches', 'branch_rank': 0},
  {'merge': 'block', 'tower_widths': (12,), 'hidden_norm': 'batch', 'head_hidden': (4,)},
  {'merge': 'soup', 'hidden_norm': 'layer', 'towers': 3},
)
WITHOUT_LAYERS = ('lr', 'fm')  # they have no head, no input block, and nothing in a lower precision
WITH_LAYERS = [model for model in models.NAMES if model not in WITHOUT_LAYERS]
VARIANTS = [  # other forms of models, with parameters of their own
  ('autoint', {'beside': (24, 24), 'hidden_norm': 'batch'}),
  ('finalmlp', {'second_widths': (24, 8), 'gates': True, 'hidden_norm': 'layer'}),
  ('finalmlp', {'fusion': 'sum'}),
  ('deepfm', {'kept_pairs': (0, 5, 14)}),
  ('dcn_v2', {'cross': 'mixture', 'cross_rank': 5}),
  ('wukong', {'top_widths': (), 'fm_hidden': (9,), 'fm_rank': 3}),
  ('wukong', {'hidden_norm': 'batch', 'depth': 3}),
  ('rankmixer', {'token_experts': 3, 'expansion': 2}),
  ('masknet', {'blocks': 'serial', 'depth': 3}),
  ('dlrm', {'beside_products': False, 'depth': 0}),
  ('afn', {'plus': (24, 8), 'hidden_norm': 'batch'}),
  ('mmoe', {'experts': 1}),
]


def inputs_of(tasks):
  return Inputs(FIELDS, DIM, tasks)


def unmade(model, tasks=1, **overrides):
  """(config, module, its filters, rows) before it has parameters."""
  config = settings.make(
    model, {'width': 16, 'depth': 2, 'views': 4, 'embedding_dim': DIM} | overrides
  )
  architecture = models.find(model)
  module = architecture.module(config, inputs_of(tasks))
  filters = {'constants': architecture.constants(config, inputs_of(1), 0)}
  rows = {
    purpose: jax.random.normal(jax.random.key(0), (5, FIELDS, width))
    for purpose, width in architecture.columns(config, inputs_of(tasks)).items()
  }
  return config, module, filters, rows


def init(module, filters, rows):
  """The collections that a module starts from."""
  made = module.apply(
    filters,
    rows,
    train=False,
    rngs={'params': jax.random.key(1)},
    mutable=['params', *train.MOVING],
  )[1]
  return nn.meta.unbox(made)


def build(model, tasks=1, **overrides):
  config, module, filters, rows = unmade(model, tasks, **overrides)
  made = jax.jit(functools.partial(init, module))(filters, rows)
  return config, module, filters | made, rows


def shapes(model, tasks=1, **overrides):
  """As `build`, without arrays: compiles nothing."""
  config, module, filters, rows = unmade(model, tasks, **overrides)
  made = jax.eval_shape(functools.partial(init, module), filters, rows)
  return config, module, filters | made, rows


def dense_count(params):
  """Numbers of a network without its input block."""
  return sum(
    leaf.size for name, part in params.items() if name != 'input' for leaf in jax.tree.leaves(part)
  )


@pytest.mark.parametrize(
  'model, overrides',
  [
    *(
      (model, overrides)
      for model in WITH_LAYERS
      for overrides in ({}, {'head_hidden': (7,)}, {'depth': 3, 'width': 12, 'views': 2})
    ),
    *((model, {}) for model in WITHOUT_LAYERS),
    *VARIANTS,
    ('dense_mlp', {'depth': 0}),
    ('dcn_v2', {'depth': 0}),
    ('dcn_v2', {'depth': 0, 'structure': 'stacked'}),
    ('dense_mlp', {'hidden_norm': 'batch'}),
    ('dcn_v2', {'hidden_norm': 'layer'}),
    *(('reaction', overrides) for overrides in FUSED),
  ],
)
def test_analytic_parameters_equal_the_counted_ones(model, overrides):
  config, _, variables, _ = shapes(model, tasks=2, **overrides)
  counted = dense_count(variables['params'])
  assert models.find(model).cost_of_training(config, inputs_of(2)).params == counted


@pytest.mark.parametrize('overrides', [{}, {'view_widths': (16, 8)}, {'filter_unit': 'field'}])
def test_a_learned_filter_ends_with_the_connections_and_cost_of_a_random_one(overrides):
  config, _, variables, _ = build('ssr_s', filter='learned', **overrides)
  found = models.find('ssr_s').cost(config, inputs_of(1))
  random = models.find('ssr_s').cost(build('ssr_s', **overrides)[0], inputs_of(1))
  assert found.params == dense_count(variables['params'])
  assert (found.params - found.idle, found.flops) == (
    random.params,
    random.flops,
  ) and random.idle == 0


@pytest.mark.parametrize(
  'model, overrides',
  [
    *((model, {}) for model in models.NAMES),
    ('dcn_v2', {'depth': 0}),
    *VARIANTS,
    *(('ssr_d', {'gate': gate}) for gate in ('relu', 'one_iteration', 'top_k', 'entmax15')),
  ],
)
def test_analytic_flops_follow_the_compiled_program(model, overrides):
  """XLA counts elementwise work too, so its number is above ours, but of the same size on wide
  layers.
  """
  config, module, variables, rows = shapes(model, width=48, **overrides)
  forward = jax.jit(functools.partial(module.apply, train=False))
  cost = forward.lower(variables, rows).compile().cost_analysis()
  counted = cost['flops'] / len(rows['embedding'])
  ours = models.find(model).cost(config, inputs_of(1)).flops
  assert ours <= counted * 1.01
  assert counted < 1.6 * ours


def test_every_gate_is_billed_its_own_work():
  """Controls were billed T rounds of competition, whatever they do."""
  bill = {gate: gates.flops(gate, 32, 5) for gate in gates.GATES}
  assert bill['ics'] == 5 * bill['one_iteration'] == 5 * 3 * 32
  assert bill['top_k_values'] == 32 * 5 < bill['sparsemax'] < bill['entmax15']
  assert {gate for gate, flops in bill.items() if not flops} == {
    'relu',
    'soft_threshold',
    'dropout',
    'sigmoid',
    'gumbel',
    'identity',
  }


@pytest.mark.parametrize('model', models.NAMES)
def test_logits_are_float32_and_dropout_acts_in_training_only(model):
  _, module, variables, rows = build(model, tasks=3, dropout=0.5, embedding_dropout=0.2)
  forward = jax.jit(functools.partial(module.apply, train=False))
  first, second = (forward(variables, rows) for _ in range(2))
  assert first.shape == (5, 3) and first.dtype == jnp.float32
  np.testing.assert_array_equal(first, second)

  @jax.jit
  def shaken(key):
    return module.apply(variables, rows, train=True, rngs={'dropout': key}, mutable=train.MOVING)[0]

  noisy = [shaken(jax.random.key(i)) for i in range(2)]
  assert (noisy[0] != noisy[1]).any()


@pytest.mark.parametrize('model', [model for model in models.NAMES if models.find(model).merge])
def test_the_served_network_has_the_logits_of_the_trained_one(model):
  config, module, variables, rows = build(model, tasks=2)
  variables = anywhere(variables)
  served = models.find(model).served(config, inputs_of(2), variables)
  np.testing.assert_array_equal(
    served.module.apply(served.variables, rows, train=False),
    module.apply(variables, rows, train=False),
  )


@pytest.mark.parametrize(
  'model, overrides',
  [
    ('dense_mlp', {'hidden_norm': 'batch'}),
    ('dcn_v2', {'hidden_norm': 'batch'}),
    ('ssr_s', {'filter': 'learned', 'filter_unit': 'field'}),
  ],
)
def test_what_a_network_is_merged_into_is_smaller_and_gives_the_same(model, overrides):
  config, module, variables, rows = build(model, **overrides)
  variables = anywhere(variables)
  served = models.find(model).served(config, inputs_of(1), variables)
  np.testing.assert_allclose(
    served.module.apply(served.variables, rows, train=False),
    module.apply(variables, rows, train=False),
    atol=1e-6,
  )
  cost = models.find(model).cost(config, inputs_of(1))
  plain = build(model)[2]['params']
  assert dense_count(served.variables['params']) == dense_count(plain) < cost.params


@pytest.mark.parametrize('norm', ['batch', 'layer', 'none'])
def test_input_norm_is_the_same_block_in_every_model(norm):
  blocks = [shapes(model, input_norm=norm)[2]['params'].get('input', {}) for model in WITH_LAYERS]
  assert all(block == blocks[0] for block in blocks if block)  # `afn` reads rows as they are


def test_depth_zero_of_the_dense_network_is_linear_in_the_rows():
  config, module, variables, rows = build('dense_mlp', depth=0, input_norm='none')
  own = variables['params']['head']['linear']
  expected = rows['embedding'].reshape(5, -1) @ own['kernel'] + own['bias'][None]
  np.testing.assert_allclose(module.apply(variables, rows, train=False), expected, atol=1e-5)
  assert models.find('dense_mlp').cost(config, inputs_of(1)).params == FIELDS * DIM + 1


def published(model, fields, **overrides):
  config = settings.make(model, {'form': 'code', 'embedding_dim': 16} | overrides)
  return models.find(model).cost(config, Inputs(fields, 16, 1)).params


def test_parameter_counts_of_the_published_configurations():
  """SSR table 3, from the official code's configurations: 23, 18 and 39 fields of 16."""
  counts = [published('ssr_d', fields, width=64, depth=2, views=8) for fields in (23, 18, 39)]
  assert counts == [970_897, 888_977, 1_233_041]
  assert published('ssr_s', 23, view_widths=(128, 64), depth=2, views=16) == 341_121


@pytest.mark.parametrize(
  'overrides',
  [
    {'form': 'code'},
    {'alpha_shape': 'scalar'},
    {'alpha_shape': 'dimension'},
    {'alpha_sign': 'positive'},
    {'gamma': False},
    {'head_hidden': (5, 3)},
  ],
)
def test_variants_of_ssr_d_have_the_counted_parameters_and_gradients(overrides):
  config, module, variables, rows = build('ssr_d', **overrides)
  assert models.find('ssr_d').cost(config, inputs_of(1)).params == dense_count(variables['params'])

  def loss(params):
    return jnp.sum(module.apply(variables | {'params': params}, rows, train=False) ** 2)

  grads = jax.jit(jax.grad(loss))(variables['params'])
  assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize('gate', gates.GATES)
def test_every_control_has_the_parameters_of_ics(gate):
  _, module, variables, rows = build('ssr_d', gate=gate)
  assert dense_count(variables['params']) == dense_count(build('ssr_d')[2]['params'])
  out = module.apply(
    variables,
    rows,
    train=True,
    rngs={'dropout': jax.random.key(0)},
    mutable=train.MOVING,
  )[0]
  assert np.isfinite(out).all()


def test_alpha_starts_where_it_is_told_whatever_its_sign_and_shape():
  outputs = [
    build('ssr_d', **overrides)
    for overrides in (
      {},
      {'alpha_sign': 'positive'},
      {'alpha_shape': 'scalar'},
      {'alpha_shape': 'dimension'},
    )
  ]
  logits = [module.apply(variables, rows, train=False) for _, module, variables, rows in outputs]
  for other in logits[1:]:
    np.testing.assert_allclose(logits[0], other, atol=1e-5)


@pytest.mark.parametrize(
  'overrides, expected', [({'residual': True}, True), ({'form': 'code'}, True), ({}, False)]
)
def test_residual_adds_what_the_view_kept(overrides, expected):
  """With a zero kernel GELU gives 0; what is left is LN of the kept dimensions, or of nothing."""
  _, module, variables, rows = build('ssr_s', **overrides)
  params = variables['params'] | {
    f'layer_{i}': variables['params'][f'layer_{i}'] | {'kernel': jnp.zeros((4, 16, 16))}
    for i in range(2)
  }
  logits = module.apply(variables | {'params': params}, rows, train=False)
  assert (np.ptp(logits) > 1e-3) == expected


def test_whole_fields_are_kept_where_the_unit_is_a_field():
  config = settings.make(
    'ssr_s', {'width': 16, 'views': 3, 'embedding_dim': DIM, 'filter_unit': 'field'}
  )
  drawn = models.find('ssr_s').constants(config, inputs_of(1), 0)['layer_0'].indices_VxK
  for view in drawn:
    assert all(
      np.array_equal(run, np.arange(DIM) + run[0]) and run[0] % DIM == 0
      for run in view.reshape(-1, DIM)
    )
  with pytest.raises(ValueError, match='whole fields of 8'):
    models.find('ssr_s').constants(
      settings.make('ssr_s', {'width': 12, 'embedding_dim': DIM, 'filter_unit': 'field'}),
      inputs_of(1),
      0,
    )


@pytest.mark.parametrize('model', WITH_LAYERS)
def test_bfloat16_compute_keeps_float32_parameters_and_logits(model):
  _, module, variables, rows = build(model)
  _, low, variables_low, _ = shapes(model, compute_dtype='bfloat16')
  assert {leaf.dtype for leaf in jax.tree.leaves(variables_low['params'])} == {jnp.dtype('float32')}
  exact, rounded = (
    jax.jit(functools.partial(m.apply, train=False))(variables, rows) for m in (module, low)
  )
  assert rounded.dtype == jnp.float32
  np.testing.assert_allclose(exact, rounded, atol=0.1)
  assert (exact != rounded).any()


def layer_norm(z_BxH, scale_H, bias_H):
  centred = z_BxH - z_BxH.mean(-1, keepdims=True)
  return (
    centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * scale_H[None] + bias_H[None]
  )


def anywhere(variables):
  """Random parameters and averages: a mistake in gains of 1 and biases of 0 would not show."""
  rng = np.random.default_rng(7)

  def moved(path, leaf):
    noisy = np.asarray(leaf) + 0.3 * rng.standard_normal(leaf.shape, np.float32)
    return np.abs(noisy) if path[-1].key in ('alpha', 'var') else noisy

  return variables | {
    name: jax.tree.map_with_path(moved, variables.get(name, {}))
    for name in ('params', 'batch_stats')
  }


def input_norm(kind, norm, statistics, rows_BxFxD):
  """x_BxN as `layers.Input` normalizes it in evaluation."""
  if kind == 'batch':
    mean_F, var_F = statistics['mean'], statistics['var']
    normal_BxFxD = (rows_BxFxD - mean_F[None, :, None]) / np.sqrt(var_F + 1e-6)[None, :, None]
    scaled_BxFxD = normal_BxFxD * norm['scale'][None, :, None] + norm['bias'][None, :, None]
    return scaled_BxFxD.reshape(5, -1)
  return layer_norm(rows_BxFxD.reshape(5, -1), norm['scale'], norm['bias'])


@pytest.mark.parametrize('model, norm', [('ssr_s', 'batch'), ('ssr_d', 'layer')])
def test_ssr_equals_its_equations_view_by_view(model, norm):
  """Equations 3 to 9 and 14, one view at a time, batch-major, at random parameters."""
  config, module, variables, rows = build(
    model, input_norm=norm, view_widths=(10, 6), head_hidden=(7,)
  )
  variables = anywhere(variables)
  params = variables['params']
  averages = variables['batch_stats'].get('input', {}).get('norm')
  x_BxN = input_norm(norm, params['input']['norm'], averages, np.asarray(rows['embedding']))
  for i in range(2):
    outputs = []
    for v in range(config.views):
      if model == 'ssr_s':
        h_BxK = x_BxN[:, variables['constants'][f'layer_{i}'].indices_VxK[v]]
      else:
        own = params[f'filter_{i}']
        z_1xKxB = jnp.asarray(x_BxN @ own['kernel'][v]).T[None]
        h_1xKxB = ics.ics_iterated(z_1xKxB, own['alpha'][v][None], own['gamma'][v][None])
        h_BxK = np.asarray(h_1xKxB[0].T)
      own = params[f'layer_{i}']
      z_BxH = np.asarray(jax.nn.gelu(h_BxK @ own['kernel'][v] + own['bias'][v][None]))
      outputs.append(layer_norm(z_BxH, own['norm']['scale'][v], own['norm']['bias'][v]))
    x_BxN = np.concatenate(outputs, -1)
  hidden, head = params['head']['hidden_0'], params['head']['linear']
  hidden_BxH = np.maximum(np.mean(outputs, 0) @ hidden['kernel'] + hidden['bias'][None], 0)
  expected = hidden_BxH @ head['kernel'] + head['bias'][None]
  logits = module.apply(variables, rows, train=False)
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
