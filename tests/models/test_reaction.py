"""Towers in training and the one that is served: what it computes and costs, and what trains it."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse import models
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.models import fusion_losses

FIELDS, DIM, BATCH = 6, 8, 32
OFF = dict.fromkeys(fusion_losses.NAMES, 0.0)
ROWS = {'embedding': jax.random.normal(jax.random.key(0), (BATCH, FIELDS, DIM))}
FORMS = {
  'drop': {'tower_widths': (12, 20), 'towers': 3, 'hidden_norm': 'layer', 'dropout': 0.2},
  'normalized': {'hidden_norm': 'batch'},
  'branches': {'merge': 'branches', 'towers': 3, 'hidden_norm': 'batch', 'head_hidden': (6,)},
  'block': {'merge': 'block', 'tower_widths': (12,), 'hidden_norm': 'batch', 'head_hidden': (4,)},
  'soup': {'merge': 'soup', 'towers': 3, 'hidden_norm': 'layer', 'dropout': 0.2},
}


def build(model='reaction', **overrides):
  """(program, its state at step 0) of a small network."""
  names = [schema_lib.Field(f'field_{i}', 'categorical', 20) for i in range(FIELDS)]
  schema = schema_lib.FeatureSchema(tuple(names), ('label', 'second'), None, {}, '', {})
  small = {'width': 16, 'embedding_dim': DIM, 'batch_size': BATCH, 'learning_rate': 0.02}
  program = train.program(settings.make(model, small | overrides), schema)
  return program, train.init(program, schema)


def batch_at(step, rows=BATCH):
  """Random ids, and a label that two of them decide."""
  rng = np.random.default_rng(step)
  ids_BxF = rng.integers(0, 20, (rows, FIELDS)).astype(np.int32)
  label_Bx1 = ((ids_BxF[:, :1] + ids_BxF[:, 1:2]) % 2).astype(np.float32)
  return {
    'ids_BxF': ids_BxF + 20 * np.arange(FIELDS, dtype=np.int32)[None],
    'label_BxT': np.concatenate([label_Bx1, 1 - label_Bx1], 1),
    'weight_B': np.ones(rows, np.float32),
  }


def built(form):
  return build(**FORMS[form])


@functools.cache
def anywhere(form):
  """(program, variables) of random parameters and averages, as no training is needed to test a
  merge.
  """
  program, state = built(form)
  rng = np.random.default_rng(7)

  def moved(path, leaf):
    noisy = np.asarray(leaf) + 0.2 * rng.standard_normal(leaf.shape, np.float32)
    return np.abs(noisy) if path[-1].key == 'var' else noisy

  variables = train.variables(state)
  return program, variables | {
    name: jax.tree.map_with_path(moved, own)
    for name, own in variables.items()
    if name != 'constants'
  }


def architecture(program):
  return models.find(program.config.model)


def count(params):
  return sum(
    leaf.size for name, part in params.items() if name != 'input' for leaf in jax.tree.leaves(part)
  )


def both_logits(form):
  """Of an evaluation of the trained network, and of what is served of it."""
  program, variables = anywhere(form)
  served = architecture(program).served(program.config, program.inputs, variables)

  def logits(module, variables):
    return jax.jit(lambda variables: module.apply(variables, ROWS, train=False))(variables)

  return logits(program.module, variables), logits(served.module, served.variables)


@pytest.mark.parametrize('form', ['normalized', 'branches', 'block'])
def test_a_merged_tower_has_the_logits_of_an_evaluation(form):
  evaluated, merged = both_logits(form)
  np.testing.assert_allclose(merged, evaluated, atol=1e-5)


@pytest.mark.fusions
@pytest.mark.parametrize('form', ['drop', 'soup'])
def test_a_tower_that_stays_has_the_bits_of_an_evaluation(form):
  evaluated, merged = both_logits(form)
  np.testing.assert_array_equal(merged, evaluated)


@pytest.mark.parametrize('form', FORMS)
def test_what_is_served_costs_what_one_dense_mlp_does(form):
  program, variables = anywhere(form)
  config, inputs = program.config, program.inputs
  served = architecture(program).served(config, inputs, variables)
  cost = architecture(program).cost(config, inputs)
  assert cost.params == count(served.variables['params'])
  if form == 'block':
    kernels = [leaf for leaf in jax.tree.leaves(served.variables['params']) if leaf.ndim == 2]
    assert cost.idle == sum(int((kernel == 0).sum()) for kernel in kernels) > 0
    return

  norm = 'none' if config.hidden_norm == 'batch' else 'layer'
  shared = {'width': 16, 'hidden_norm': norm, 'head_hidden': config.head_hidden}
  plain = settings.make('dense_mlp', shared | {'embedding_dim': DIM})
  assert cost == models.find('dense_mlp').cost(plain, inputs)
  trained_cost = architecture(program).cost_of_training(config, inputs)
  assert trained_cost.params == count(variables['params']) and trained_cost.flops > 1.9 * cost.flops


def test_towers_of_a_soup_start_alike():
  for leaf in jax.tree.leaves(built('soup')[1].params['towers']):
    np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape))


def stepped(program, state):
  """(state, sums) after some steps."""
  step = jax.jit(functools.partial(train.train_step, program))
  sums = train.zero_sums(program.terms)
  for k in range(3):
    state, sums = step(state, sums, batch_at(k))
  return state, sums


def test_one_tower_without_losses_trains_as_a_dense_mlp_bit_for_bit():
  shared = {'dropout': 0.3, 'hidden_norm': 'batch'}
  found = stepped(*build(**OFF, towers=1, **shared))
  want = stepped(*build('dense_mlp', **shared))
  jax.tree.map(np.testing.assert_array_equal, found, want)


def test_the_first_tower_starts_and_is_shaken_as_a_dense_mlp_is():
  shared = {'dropout': 0.3, 'towers': 3, 'tower_widths': (12, 16)}
  (program, state), (plain, want) = build(**OFF, **shared), build('dense_mlp', dropout=0.3)

  def logits(program, state):
    noisy = functools.partial(program.module.apply, train=True, mutable=train.MOVING)
    rngs = {'dropout': jax.random.key(1)}
    return jax.jit(noisy)(train.variables(state), ROWS, rngs=rngs)[0]

  np.testing.assert_array_equal(logits(program, state), logits(plain, want))


def test_every_term_is_added_up_by_itself_and_every_tower_learns():
  program, start = built('drop')
  start = jax.tree.map(np.asarray, start)
  state, sums = stepped(program, start)
  assert set(sums.terms) == {'tower_1', 'tower_2', *fusion_losses.NAMES}
  assert all(total > 0 for total in sums.terms.values())
  first = float(sums.loss) - sum(map(float, sums.terms.values()))
  assert 1 < first / 3 < 2  # two tasks of about log 2 each
  jax.tree.map(lambda old, new: np.testing.assert_(np.any(old != new)), start.params, state.params)


@pytest.mark.parametrize('form', FORMS)
def test_what_is_logged_is_what_is_sown(form):
  program, variables = anywhere(form)
  rngs = {'dropout': jax.random.key(1)}
  kept = ('losses', 'logits')

  @jax.jit
  def sow(variables):
    mutable = (*train.MOVING, *kept)
    return program.module.apply(variables, ROWS, train=True, rngs=rngs, mutable=mutable)[1]

  sown = sow(variables)
  assert sorted(program.terms) == sorted(name for kind in kept for name in sown.get(kind, ()))


def test_distillation_teaches_the_first_tower_alone():
  program, state = build(**OFF, towers=3, distillation=1.0)

  def taught(params):
    variables = train.variables(state._replace(params=params))
    _, sown = program.module.apply(
      variables, ROWS, train=True, rngs={}, mutable=(*train.MOVING, 'losses')
    )
    return sown['losses']['distillation'][0]

  grads = jax.jit(jax.grad(taught))(state.params)
  assert jnp.abs(grads['layer_0']['kernel']).max() > 0
  for k in (1, 2):
    assert not any(leaf.any() for leaf in jax.tree.leaves(grads[f'other_{k}']))
  least = jax.jit(taught)(state.params)
  assert least > 0 and program.terms == ('tower_1', 'tower_2', 'distillation')


def features(seed):
  """Two layers of 8 units of 5 examples, as a ReLU leaves them; the last example has none."""
  layers = jax.random.normal(jax.random.key(seed), (2, 8, 5))
  return list(nn.relu(layers).at[:, :, 4].set(0))


def test_fusion_losses_equal_their_formulas():
  own, other = (fusion_losses.positions(features(seed), 2) for seed in (1, 2))
  weight_B = np.array([1, 1, 0, 1, 0], np.float32)
  a, b = (np.asarray(maps, np.float64) for maps in (own, other))
  cosine_JxB = np.einsum('jkb,jkb->jb', a, b)
  real = [0, 1, 3]
  want = np.maximum(1 - 0.2 - cosine_JxB, 0)[:, real].mean()
  np.testing.assert_allclose(fusion_losses.spatial(own, other, 0.2, weight_B), want, rtol=1e-5)

  gap = np.einsum('ikb,jkb->ijb', a, a) - np.einsum('ikb,jkb->ijb', b, b)
  want = np.maximum(np.abs(gap) - 0.1, 0)[..., real].mean()
  np.testing.assert_allclose(fusion_losses.relational(own, other, 0.1, weight_B), want, rtol=1e-5)

  ours, theirs = (fusion_losses.unit(features(seed)[1]) for seed in (1, 2))
  alike = np.exp(np.asarray(ours.T @ theirs, np.float64)[np.ix_(real, real)] / 0.2)
  want = -np.log(np.diag(alike) / alike.sum(1)).mean()
  found = fusion_losses.contrastive(ours, theirs, 0.2, weight_B)
  np.testing.assert_allclose(found, want, rtol=1e-5)


def test_alike_towers_lose_nothing_to_margins_and_zeros_have_gradients():
  options = settings.make('reaction', {'groups': 2}).options
  weight_B = jnp.ones(5)

  @jax.jit
  def terms(first):
    return fusion_losses.terms(options, [first, features(1)], weight_B)

  alike = terms(features(1))
  assert alike['spatial'] < 0.05 and alike['relational'] == 0  # an example of zeros has no cosine
  grads = jax.jit(jax.grad(lambda first: sum(terms(first).values())))(features(2))
  assert all(np.isfinite(grad).all() and jnp.abs(grad).max() > 0 for grad in grads)


@pytest.mark.parametrize(
  'overrides, sentence',
  [
    ({'depth': 0}, 'depth=0: expected at least 1'),
    ({'sparsity': 'rigl', 'density': 0.5}, 'sparsity=rigl: expected none'),
    ({'tower_widths': (4, 4)}, 'tower_widths=4,4: expected 1 widths'),
    ({'towers': 1}, 'spatial=0.1: expected 0, there is no other tower'),
    ({'towers': 1, **OFF, 'distillation': 1.0}, 'distillation=1.0: expected 0, there is no'),
    ({'merge': 'soup', 'tower_widths': (4,)}, 'merge=soup: needs towers of one width'),
    ({'merge': 'soup', 'hidden_norm': 'batch'}, 'hidden_norm=batch: merge=soup'),
    ({'merge': 'block', 'hidden_norm': 'layer'}, 'hidden_norm=layer: merge=block'),
    ({'merge': 'block', 'distillation': 1.0}, 'distillation=1.0: expected 0 with merge=block'),
    ({'width': 10}, 'groups=4: expected a divisor of width=10 with spatial above 0'),
    ({'depth': 1, 'groups': 1}, 'relational=0.1: expected 0 with one position'),
  ],
)
def test_settings_that_do_not_go_together_are_refused(overrides, sentence):
  with pytest.raises(ValueError, match=sentence):
    settings.make('reaction', {'width': 16} | overrides)
