"""Masks over dense parameters: exact counts, ties, and what every rule keeps at every step."""

import dataclasses
import functools
import itertools
import math
import pathlib

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse import checkpoint
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.models.marks import Mark
from rec_sparse.runs import warm_start
from rec_sparse.sparsity import learned_filter
from rec_sparse.sparsity import masks
from rec_sparse.sparsity import rules
from rec_sparse.sparsity import schedule as schedule_lib
from rec_sparse.sparsity import static_filter
from rec_sparse.sparsity import structure as structure_lib
from rec_sparse.sparsity import table_masks
from rec_sparse.sparsity.structure import UNSTRUCTURED

SIZES = (40, 30)
BATCH = 32
STEPS = 24  # of a run: 3 epochs of 8 batches
KERNEL = Mark(decays=True)


def shapes(*pairs):
  tree = {f'layer_{i}': jax.ShapeDtypeStruct(pair, jnp.float32) for i, pair in enumerate(pairs)}
  return tree, dict.fromkeys(tree, KERNEL)


@given(
  pairs=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=4),
  density=st.floats(0.01, 1),
  by=st.sampled_from(['uniform', 'erk']),
)
def test_counts_are_the_density_to_the_nearest_weight_and_no_kernel_has_more_than_all(
  pairs, density, by
):
  tree, marks = shapes(*pairs)
  sizes = [n * h for n, h in pairs]
  try:
    counts = list(masks.counts(tree, marks, density, by).values())
  except ValueError as e:
    assert 'leaves no weight of layer_' in str(e)
    return
  assert sum(counts) == round(density * sum(sizes))
  assert all(0 < count <= size for count, size in zip(counts, sizes, strict=True))


def test_erk_keeps_small_kernels_and_thins_out_large_ones():
  tree, marks = shapes((624, 1024), (1024, 1024), (1024, 1))
  counts = masks.counts(tree, marks, 0.1, 'erk')
  shares = [counts[name] / math.prod(leaf.shape) for name, leaf in tree.items()]
  assert shares == pytest.approx([0.117, 0.089, 1], abs=0.001)

  eps = shares[1] / ((1024 + 1024) / 1024**2)
  assert shares[0] == pytest.approx(eps * (624 + 1024) / (624 * 1024), rel=1e-4)
  assert masks.counts(tree, marks | {'layer_1': Mark()}, 0.1, 'erk')['layer_1'] is None


@given(st.lists(st.sampled_from([0.0, 1.0, 2.5]), min_size=12, max_size=12), st.integers(0, 12))
@hypothesis_settings(max_examples=30, deadline=None)
def test_the_largest_are_as_many_as_asked_whatever_is_equal(scores, count):
  mask = np.asarray(masks.largest(np.float32(scores), count, jax.random.key(0)))
  assert mask.sum() == count
  assert min(np.array(scores)[mask], default=9) >= max(np.array(scores)[~mask], default=-9)


def test_equal_scores_are_drawn_by_lot_and_not_by_index():
  drawn = [masks.largest(jnp.zeros(1000), 500, jax.random.key(i)) for i in range(2)]
  assert 200 < np.sum(np.asarray(drawn[0])[:500]) < 300
  assert 200 < np.sum(np.asarray(drawn[0] & drawn[1])) < 300


def test_of_all_kernels_together_the_largest_stay():
  scores = {'a': jnp.array([[5.0, 1.0]]), 'bias': None, 'b': jnp.array([[4.0, 3.0, 0.0]])}
  found = masks.largest_of_all(scores, 3, jax.random.key(0))
  assert found['bias'] is None
  assert found['a'].tolist() == [[True, False]] and found['b'].tolist() == [[True, True, False]]


def sparsifier(rule, counts, schedule=None, structure=UNSTRUCTURED):
  return rules.Sparsifier(rules.RULES[rule], counts, schedule, 0, structure)


def test_an_exchange_drops_the_smallest_weights_and_grows_the_largest_gradients():
  param = jnp.array([[0.5, -0.1, 0.3, 0.0, 0.0, 0.0]])
  mask = jnp.array([[True, True, True, False, False, False]])
  grads = jnp.array([[9.0, 0.0, 9.0, -3.0, 2.0, 1.0]])
  sparse = rules.Sparse({'k': mask}, None)
  occasion = rules.Occasion(
    jax.random.key(0), jnp.int32(0), sparse, {'k': param}, {'k': grads}, None
  )
  own = sparsifier('rigl', {'k': 3}, schedule_lib.Schedule(0, 1, 10, 1 / 3))
  found = own.rule.change(own, occasion)
  assert found['k'].tolist() == [[True, False, True, True, False, False]]

  regretted = occasion._replace(grads={'k': grads.at[0, 1].set(4.0)})  # the dropped may come back
  found = own.rule.change(own, regretted)
  assert found['k'].tolist() == [[True, True, True, False, False, False]]


def test_grasp_keeps_weights_without_which_the_gradient_would_shrink():
  """Of the loss w A w / 2: H is A, and g is A w; what has no mask has no part in g."""
  rng = np.random.default_rng(0)
  a = rng.normal(size=(6, 6)).astype(np.float32)
  a = a @ a.T
  w = rng.normal(size=6).astype(np.float32)
  params = {'k': jnp.array(w)[:, None], 'bias': jnp.ones(6)}

  def loss(params):
    w = params['k'][:, 0]
    return w @ a @ w / 2 + params['bias'] @ w

  gradient = jax.grad(loss)
  grads = gradient(params)
  sparse = rules.Sparse({'k': w != 0, 'bias': None}, None)
  occasion = rules.Occasion(jax.random.key(0), jnp.int32(0), sparse, params, grads, gradient)
  own = sparsifier('grasp', {'k': 3, 'bias': None})
  found = own.rule.change(own, occasion)
  scores = w * (a @ (a @ w + 1))
  assert found['bias'] is None
  np.testing.assert_array_equal(np.flatnonzero(found['k'][:, 0]), np.sort(np.argsort(scores)[3:]))


def test_synflow_leaves_a_path_where_one_round_would_cut_a_layer():
  """No weight is kept without a way in and out; one round keeps 1 of `wide`, 15 of `thin`."""
  rng = np.random.default_rng(0)
  params = {'wide': rng.normal(size=(8, 40)), 'thin': 1e-3 * rng.normal(size=(40, 1))}
  params = jax.tree.map(jnp.float32, params)
  start = rules.Start(
    jax.random.key(0), params, lambda params: jnp.ones((1, 8)) @ params['wide'] @ params['thin']
  )
  own = sparsifier('synflow', {'wide': 12, 'thin': 4})
  found = own.rule.start(own, start)
  wide, thin = np.asarray(found['wide']), np.asarray(found['thin'])[:, 0]
  assert wide.sum() + thin.sum() == 16
  assert thin.sum() and (wide.any(0) == thin).all()


STRUCTURES = {
  'block': structure_lib.Structure('block', block=4),
  'n_m': structure_lib.Structure('n_m', group=4),
}
STACK = (2, 8, 6)  # of two kernels, each in 2 x 2 blocks of 4 x 3


@functools.cache
def by_every_rule(structure):
  """A compiled (param, grad, key) of one kernel -> rule -> its mask after the last change."""
  shapes = {'stack': jax.ShapeDtypeStruct(STACK, jnp.float32)}
  counts = masks.counts(shapes, {'stack': KERNEL}, 0.5, 'uniform', structure)

  def cubes(params):
    """Logits, and a loss, with a second derivative."""
    return jnp.sum(params['stack'] ** 3)

  def mask_of(rule, param, grad, key):
    params, grads = {'stack': param}, {'stack': grad}
    own = sparsifier(rule, counts, schedule_lib.Schedule(0, 1, 4, 0.4), structure)
    start = own.rule.start(own, rules.Start(key, params, cubes))
    params = masks.apply(start, params)
    sparse = rules.Sparse(start, jax.tree.map(jnp.abs, grads))
    occasion = rules.Occasion(key, jnp.int32(4), sparse, params, grads, jax.grad(cubes))
    return own.rule.change(own, occasion)['stack']

  def every_mask(param, grad, key):
    return {rule: mask_of(rule, param, grad, key) for rule in rules.RULES}

  return jax.jit(every_mask), counts['stack']


@given(structure=st.sampled_from(sorted(STRUCTURES)), seed=st.integers(0, 99))
@hypothesis_settings(max_examples=30, deadline=None)
def test_every_rule_keeps_whole_units_and_its_budget_in_any_structure(structure, seed):
  """Of weights and gradients many of which are equal."""
  rng = np.random.default_rng(seed)
  param, grad = (jnp.float32(rng.integers(-1, 2, STACK)) for _ in range(2))
  every_rule, count = by_every_rule(STRUCTURES[structure])
  grid = structure_lib.grid(STRUCTURES[structure], STACK)

  for rule, found in every_rule(param, grad, jax.random.key(seed)).items():
    kept = np.asarray(structure_lib.units(grid, found))
    assert set(np.unique(kept)) <= {0, grid.weights}, rule
    assert kept.sum() == count == param.size / 2, rule
    if structure == 'n_m':
      assert (kept.sum(-1) == 2).all(), rule


def test_units_are_blocks_of_a_kernel_or_inputs_that_follow_one_another():
  kernel = jnp.arange(24).reshape(4, 6)
  blocks = structure_lib.grid(structure_lib.Structure('block', block=2), kernel.shape)
  assert structure_lib.units(blocks, kernel)[0, :3].tolist() == [14, 22, 30]  # 0 + 1 + 6 + 7, ...
  groups = structure_lib.grid(structure_lib.Structure('n_m', group=2), kernel.shape)
  assert structure_lib.units(groups, kernel)[:2].tolist() == [[0, 6], [1, 7]]
  for grid in (blocks, groups):
    mask = structure_lib.units(grid, kernel) > 30
    again = structure_lib.units(grid, structure_lib.spread(grid, mask)) > 0
    np.testing.assert_array_equal(again, mask)


@functools.cache
def built(**overrides):
  """(program, schema) of a small network with SIZES, in a run of STEPS."""
  fields = tuple(schema_lib.Field(f'f{i}', 'categorical', size) for i, size in enumerate(SIZES))
  split = schema_lib.Split(8 * BATCH, (1,), ())
  schema = schema_lib.FeatureSchema(fields, ('label',), None, {'train': split}, '', {})
  sizes = {'width': 16, 'embedding_dim': 4, 'batch_size': BATCH, 'epochs': 3}
  config = settings.make('dense_mlp', {'learning_rate': 0.01} | sizes | overrides)
  return train.program(config, schema), schema


def batch(step):
  rng = np.random.default_rng(step)
  ids_BxF = (rng.random((BATCH, len(SIZES))) * SIZES).astype(np.int32)
  return {
    'ids_BxF': ids_BxF + np.array([0, SIZES[0]], np.int32),
    'label_BxT': (ids_BxF[:, :1] % 2).astype(np.float32),
    'weight_B': np.ones(BATCH, np.float32),
  }


@functools.cache
def step_of(**overrides):
  """The compiled (state, batch) -> state of a program."""
  program, _ = built(**overrides)
  return jax.jit(lambda state, batch: train.train_step(program, state, train.zero_sums(), batch)[0])


@functools.cache
def trained(steps=STEPS, **overrides):
  """The states of a run: at the start, and after each step."""
  program, schema = built(**overrides)
  states = [train.init(program, schema)]
  for i in range(steps):
    states.append(step_of(**overrides)(states[-1], batch(i)))
  return program, states


def flat(tree):
  """Kernels alone, one after another."""
  return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(tree)])


CHANGING = {'density': 0.3, 'mask_every': 4, 'density_by': 'uniform'}


def masked(rule):
  """Of dense kernels, and of the table where the rule has a form for it."""
  of_table = {'table_sparsity': rule, 'table_density': 0.3} if rule in table_masks.RULES else {}
  return {'sparsity': rule} | CHANGING | of_table


@pytest.mark.parametrize('rule', sorted(rules.RULES))
def test_every_rule_keeps_its_budget_and_zeros_stay_zeros(rule):
  program, states = trained(**masked(rule))
  own = program.sparsifier
  budget = masks.total(own.counts)
  kept = [int(flat(state.sparse.masks).sum()) for state in states]
  assert kept[-1] == budget == round(0.3 * own.weights)
  if rule in ('magnitude', 'gradual', 'rewind'):
    assert kept == sorted(kept, reverse=True) and kept[6] == own.weights  # a quarter is dense
    settled = train.settled(program)
    assert kept[settled - 1] > kept[settled] == budget
  elif rule in ('snip', 'grasp'):
    assert kept == [own.weights] + [budget] * STEPS
  else:
    assert set(kept) == {budget}

  changed = [
    i
    for i, (old, new) in enumerate(zip(states, states[1:], strict=False))
    if (flat(old.sparse.masks) != flat(new.sparse.masks)).any()
  ]
  thinned = [8, 12, 16, 18]
  want = {
    'static': [],
    'synflow': [],
    'snip': [0],
    'grasp': [0],
    'magnitude': [6],
    'gradual': thinned,
    'rewind': thinned,
  }
  if rule == 'edge_popup':
    assert len(changed) > STEPS / 2
  else:
    assert changed == want.get(rule, [4, 8, 12, 16])

  for state in states:
    outside = ~flat(state.sparse.masks)
    trees = (state.params, state.moments.mu, state.moments.nu)
    for tree in trees[:1] if rule == 'edge_popup' else trees:
      assert not flat(masks.beside(state.sparse.masks, tree))[outside].any()
  moved = flat(states[-1].params) != flat(states[0].params)
  assert moved.any() and np.isfinite(flat(states[-1].params)).all()


def test_a_network_of_density_1_is_the_dense_one_bit_for_bit():
  _, dense = trained(6)
  _, masked = trained(6, sparsity='static')
  jax.tree.map(np.testing.assert_array_equal, dense[-1].params, masked[-1].params)


def test_rigl_skips_the_update_of_a_step_that_exchanges_weights():
  _, states = trained(**masked('rigl'))
  both = masks.over(jnp.logical_and, states[4].sparse.masks, states[5].sparse.masks)
  before, after = (flat(masks.apply(both, states[i].params)) for i in (4, 5))
  np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize('rule', sorted(table_masks.RULES))
def test_every_rule_of_the_table_keeps_its_budget_and_zeros_stay_zeros(rule):
  program, states = trained(**masked(rule))
  own = program.table_sparsifier
  tables = [state.table for state in states]
  kept = [int(table.slots.mask_RxD.sum()) for table in tables]
  assert own.entries == sum(SIZES) * 4 and own.count == kept[-1] == round(0.3 * own.entries)
  if rule in ('magnitude', 'gradual'):
    assert kept == sorted(kept, reverse=True) and kept[6] == own.entries  # a quarter is dense
    settled = train.settled(program)
    assert kept[settled - 1] > kept[settled] == own.count
  else:
    assert set(kept) == {own.count}

  masks_of = [np.asarray(table.slots.mask_RxD) for table in tables]
  pairs = enumerate(itertools.pairwise(masks_of))
  changed = [i for i, (old, new) in pairs if (old != new).any()]
  want = {'static': [], 'magnitude': [6], 'gradual': [8, 12, 16, 18]}
  assert changed == want.get(rule, [4, 8, 12, 16])
  for table, mask_RxD in zip(tables, masks_of, strict=True):
    for array_RxD in (table.rows_RxD, *table.slots.moments):
      assert not np.asarray(array_RxD)[~mask_RxD].any()
  assert (np.asarray(tables[-1].rows_RxD) != np.asarray(tables[0].rows_RxD)).any()


def test_entries_that_a_table_grows_start_anew():
  _, states = trained(**masked('dsl'))
  before, after = states[8].table.slots, states[9].table.slots  # step 8 exchanges
  grown_RxD = after.mask_RxD & ~before.mask_RxD
  assert grown_RxD.any() and before.grown_RxD.any() and not after.grown_RxD.any()
  for moment_RxD in (states[9].table.rows_RxD, *after.moments):
    assert not np.asarray(moment_RxD)[grown_RxD].any()
  assert np.asarray(states[12].table.rows_RxD)[grown_RxD].any()


@pytest.mark.parametrize('rule', ['magnitude', 'gradual', 'rewind'])
def test_a_run_that_is_dense_as_long_as_may_be_is_sparse_at_its_end(rule):
  most = {'magnitude': {'mask_from': 0.999}}.get(rule, {'mask_until': 1.0})
  program, _ = built(sparsity=rule, density=0.3, **most)
  assert train.settled(program) == program.last == STEPS


@pytest.mark.parametrize('rule', sorted(rules.RULES))
def test_a_checkpoint_right_before_or_after_a_change_goes_on_bit_for_bit(rule, tmp_path):
  program, states = trained(**masked(rule))
  at = {'snip': 0, 'grasp': 0, 'magnitude': 6}.get(rule, 8)  # the step of a change
  items = checkpoint.items  # without the working space of the table's optimizer
  like = train.abstract_state(program, built(**masked(rule))[1])
  with checkpoint.manager(tmp_path) as manager:
    for cut in (at, at + 1):
      checkpoint.save(manager, program, states[cut], {}, {})
      state, _, _ = checkpoint.restore(manager, cut, program, like)
      again = step_of(**masked(rule))(state, batch(cut))
      jax.tree.map(np.testing.assert_array_equal, items(again), items(states[cut + 1]))


def test_edge_popup_chooses_among_weights_that_stay_as_they_start():
  _, states = trained(**masked('edge_popup'))
  start, end = states[0], states[-1]
  weights = masks.apply(end.sparse.masks, start.sparse.early)
  jax.tree.map(
    np.testing.assert_array_equal,
    masks.beside(end.sparse.masks, end.params),
    masks.beside(end.sparse.masks, weights),
  )
  assert (np.asarray(end.params['layer_0']['bias']) != 0).any()
  assert (flat(end.sparse.scores) != flat(start.sparse.scores)).mean() > 0.5  # dead units


def test_a_run_that_starts_from_edge_popup_has_its_weights_and_scores_and_others_its_masks():
  program, states = trained(**masked('edge_popup'))
  end, start = states[-1], states[0].sparse
  own = program.sparsifier
  assert warm_start._sparse(own, end, own, start) is end.sparse
  found = warm_start._sparse(None, end, own, start)  # from a run without masks
  assert found.masks is start.masks
  jax.tree.map(np.testing.assert_array_equal, found.early, end.params)
  static = sparsifier('static', own.counts)
  new = rules.Sparse(start.masks, None)
  assert warm_start._sparse(own, end, static, new).masks is end.sparse.masks
  in_blocks = static._replace(structure=STRUCTURES['block'])
  assert warm_start._sparse(own, end, in_blocks, new).masks is start.masks


def test_a_table_with_masks_is_no_start_for_other_random_ones():
  rules_of = {name: built(table_sparsity=name, table_density=0.5)[0] for name in ('dsl', 'gradual')}
  config = rules_of['dsl'].config
  origin = warm_start.Origin(pathlib.Path('runs/old'), config, pathlib.Path('data'), 8, False)
  warm_start._check_table(origin, rules_of['gradual'])
  warm_start._check_table(origin._replace(config=built()[0].config), rules_of['dsl'])
  with pytest.raises(ValueError, match='--init_from=runs/old: its table has masks'):
    warm_start._check_table(origin, rules_of['dsl'])


def test_scores_of_edge_popup_learn_straight_through_the_choice():
  rng = np.random.default_rng(0)
  weights, scores, x = (jnp.float32(rng.normal(size=(4, 4))) for _ in range(3))
  mask = jnp.abs(scores) > 0.5

  def loss(kernel):
    return jnp.sum(jnp.sin(x @ kernel))

  in_force = jnp.where(mask, weights, 0)
  sparse = rules.Sparse({'k': mask}, None, {'k': weights}, {'k': scores})
  _, found = rules.scores_for_kernels(sparse, {'k': 0}, {'k': jax.grad(loss)(in_force)})
  want = jax.grad(lambda scores: loss(learned_filter.straight_through(mask, scores) * weights))
  np.testing.assert_allclose(found['k'], want(scores), rtol=1e-5)


def test_rewinding_takes_kept_weights_and_biases_back_to_an_early_step():
  program, states = trained(**masked('rewind'))
  assert program.sparsifier.schedule.first == 6
  for after in (9, 13):  # steps 8 and 12 thin out
    early = masks.apply(states[after].sparse.masks, states[6].params)
    jax.tree.map(np.testing.assert_array_equal, states[after].params, early)
    assert int(states[after].moments.count) == 0
    assert not any(leaf.any() for leaf in jax.tree.leaves(states[after].moments.mu))
  assert (flat(states[12].params) != flat(states[9].params)).any()


def test_a_static_mask_that_is_the_filter_of_ssr_s_trains_as_ssr_s():
  """Structural and masked form are one: a kernel of kept rows, and one of all rows in a mask."""
  _, schema = built()
  given = {'width': 4, 'views': 3, 'depth': 1, 'embedding_dim': 4, 'batch_size': BATCH}
  structural = train.program(settings.make('ssr_s', given | {'learning_rate': 0.01}), schema)
  own = {'filter': 'learned', 'filter_warmup': 1, 'sparsity': 'static', 'learning_rate': 0.01}
  masked = train.program(settings.make('ssr_s', given | own), schema)
  ones, others = train.init(structural, schema), in_masks(train.init(masked, schema))

  step = jax.jit(functools.partial(train.train_step, structural))
  masked_step = jax.jit(functools.partial(train.train_step, masked))
  start = ones.params
  others = others._replace(params=spread(start, ones.constants, others.params))
  for i in range(6):
    ones, sums = step(ones, train.zero_sums(), batch(i))
    others, other_sums = masked_step(others, train.zero_sums(), batch(i))
    np.testing.assert_allclose(other_sums.loss, sums.loss, rtol=1e-5)
  want = spread(ones.params, ones.constants, others.params)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), others.params, want)
  assert (flat(ones.params) != flat(start)).mean() > 0.9


def in_masks(state):
  """A state of learned filters that are fixed as drawn, and whose kernels are masked by them."""
  kept = {name: static_filter.mask(of).any(-1) for name, of in state.constants.items()}
  found = dict(state.sparse.masks)
  for name, kept_VxN in kept.items():
    mask_VxNxH = jnp.broadcast_to(kept_VxN[..., None], found[name]['kernel'].shape)
    found[name] = found[name] | {'kernel': mask_VxNxH}
  ended = {name: of | {'steps': jnp.int32(1)} for name, of in state.moving['masks'].items()}
  moving = state.moving | {'masks': ended}
  return state._replace(sparse=state.sparse._replace(masks=found), moving=moving)


def spread(params, constants, like):
  """Parameters of SSR-S in the masked form of `like`: kept rows in their places, 0 elsewhere."""
  params = dict(params)
  for name, filter_ in constants.items():
    kernel_VxNxH = jnp.zeros(like[name]['kernel'].shape)
    views_Vx1 = jnp.arange(len(kernel_VxNxH))[:, None]
    kernel_VxNxH = kernel_VxNxH.at[views_Vx1, filter_.indices_VxK].set(params[name]['kernel'])
    params[name] = params[name] | {'kernel': kernel_VxNxH, 'scores': like[name]['scores']}
  return params


def test_trials_side_by_side_have_masks_of_their_own():
  overrides = masked('dsl')
  program, schema = built(**overrides)
  placed = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  configs = [dataclasses.replace(program.config, seed=seed) for seed in range(2)]
  states = train.init_trials(program, schema, configs, placed)

  def one_step(state, batch):
    return train.train_step(program, state, train.zero_sums(), batch)[0]

  step = jax.jit(jax.vmap(one_step, (0, None)))
  for i in range(5):
    states = step(states, batch(i))
  one, two = (flat(train.unstack(states.sparse.masks, i)) for i in range(2))
  assert one.sum() == two.sum() == masks.total(program.sparsifier.counts)
  assert (one != two).any()
  _, alone = trained(**overrides)
  np.testing.assert_array_equal(one, flat(alone[5].sparse.masks))
  mask_SxRxD = np.asarray(states.table.slots.mask_RxD)
  assert (mask_SxRxD[0] != mask_SxRxD[1]).any()
  np.testing.assert_array_equal(mask_SxRxD[0], alone[5].table.slots.mask_RxD)


def test_records_count_what_is_kept():
  program, schema = built(sparsity='rigl', density=0.25, density_by='uniform')
  dense = train.counts(built()[0].config, schema)
  sparse = train.counts(program.config, schema)
  dropped = program.sparsifier.weights - round(0.25 * program.sparsifier.weights)
  assert dense['dense_params_nonzero'] - sparse['dense_params_nonzero'] == dropped
  assert dense['flops_per_example'] - sparse['flops_per_example'] == 2 * dropped
  assert dense['dense_params'] == sparse['dense_params']

  config = built(table_sparsity='dsl', table_density=0.25)[0].config
  of_table = train.counts(config, schema)
  entries = 4 * sum(SIZES)
  assert of_table == dense | {'embedding_params_nonzero': entries // 4}
  assert dense['embedding_params_nonzero'] == dense['embedding_params'] == entries


@pytest.mark.parametrize(
  'overrides, message',
  [
    ({'density': 0.5}, 'density=0.5: needs a rule of sparsity'),
    ({'mask_structure': 'block'}, 'mask_structure=block: needs a rule of sparsity'),
    ({'mask_structure': 'n_m', 'sparsity': 'set'}, 'mask_structure=n_m: needs density_by=uniform'),
    (
      {'mask_structure': 'n_m', 'sparsity': 'set', 'density_by': 'uniform', 'density': 0.3},
      'density=0.3: times mask_group=4 it is 1.2 inputs, expected a whole number',
    ),
    (
      {
        'mask_structure': 'n_m',
        'sparsity': 'set',
        'density_by': 'uniform',
        'density': 0.5,
        'width': 6,
      },
      'mask_structure=n_m: head/linear/kernel has 6 inputs, expected a multiple of mask_group=4',
    ),
    ({'sparsity': 'rigl', 'density': 0}, 'density=0.*above 0'),
    ({'sparsity': 'gradual', 'density': 0.5, 'mask_from': 0.8}, 'mask_from=0.8: expected below'),
    ({'sparsity': 'rigl', 'density': 1e-3}, 'density=0.001: leaves no weight of'),
    ({'table_density': 0.5}, 'table_density=0.5: needs a rule of table_sparsity'),
    ({'table_sparsity': 'set', 'table_density': 1e-3}, 'table_density=0.001: leaves no entry'),
    ({'table_sparsity': 'set', 'clip_norm': 1}, 'clip_norm=1: with table_sparsity'),
    ({'table_sparsity': 'gradual', 'mask_from': 0.8}, 'mask_from=0.8: expected below'),
  ],
)
def test_wrong_sparsity_is_one_sentence(overrides, message):
  with pytest.raises(ValueError, match=message):
    built(**overrides)
