"""The learned static filter: how many it keeps, what it finds, and SSR-S as its oracle."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rec_sparse import models
from rec_sparse import settings
from rec_sparse.models import ssr_s
from rec_sparse.models.architecture import Inputs
from rec_sparse.sparsity import learned_filter
from rec_sparse.sparsity import static_filter

FIELDS, DIM, VIEWS, WIDTH = 6, 4, 3, 8
INPUTS = Inputs(FIELDS, DIM, 1)


def build(seed=0, **overrides):
  config = settings.make(
    'ssr_s',
    {
      'width': WIDTH,
      'depth': 2,
      'views': VIEWS,
      'embedding_dim': DIM,
      'filter': 'learned',
      'input_norm': 'none',
    }
    | overrides,
  )
  filters = models.find('ssr_s').constants(config, INPUTS, seed)
  module = ssr_s.SSRS(config, INPUTS)
  made = module.apply(
    {'constants': filters},
    {'embedding': jnp.zeros((1, FIELDS, DIM))},
    train=False,
    rngs={'params': jax.random.key(seed)},
    mutable=['params', 'masks'],
  )[1]
  return config, module, filters, nn.meta.unbox(made['params']), made['masks']


def masks(statistics):
  return {name: np.asarray(layer['mask']) for name, layer in statistics.items()}


def train(module, filters, params, statistics, examples, steps, learning_rate=0.01):
  """Adam on fresh random batches whose labels `examples(key)` gives -> states after every step."""
  optimizer = optax.adam(learning_rate)

  def loss_fn(params, statistics, rows_BxFxD, label_B):
    logits_BxT, changed = module.apply(
      {'params': params, 'masks': statistics, 'constants': filters},
      {'embedding': rows_BxFxD},
      train=True,
      rngs={'dropout': jax.random.key(0)},
      mutable=['masks'],
    )
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits_BxT[:, 0], label_B)), changed['masks']

  @jax.jit
  def one(params, statistics, moments, key):
    grads, statistics = jax.grad(loss_fn, has_aux=True)(params, statistics, *examples(key))
    with jax.numpy_dtype_promotion('standard'):
      updates, moments = optimizer.update(grads, moments)
    return optax.apply_updates(params, updates), statistics, moments, grads

  moments, seen = optimizer.init(params), []
  for step in range(steps):
    params, statistics, moments, grads = one(params, statistics, moments, jax.random.key(step))
    seen.append((params, statistics, grads))
  return seen


def few_dimensions_decide(key):
  """The label is a function of the first coordinate of the first two fields.

  These are dimensions 0 and DIM of INPUTS.
  """
  rows_BxFxD = jax.random.normal(key, (256, FIELDS, DIM))
  return rows_BxFxD, (rows_BxFxD[:, 0, 0] + 0.7 * rows_BxFxD[:, 1, 0] > 0).astype(jnp.float32)


def test_starts_from_the_subset_that_ssr_s_draws():
  _, _, filters, params, statistics = build()
  for name, mask_VxN in masks(statistics).items():
    drawn_VxN = np.asarray(static_filter.mask(filters[name])).any(-1)
    np.testing.assert_array_equal(mask_VxN, drawn_VxN)
    np.testing.assert_array_equal(learned_filter.largest(params[name]['scores'], WIDTH), drawn_VxN)


def test_views_find_the_dimensions_that_decide_and_keep_them():
  """A view keeps 4 of 24 dimensions and 2 decide.

  1 view in 6 keeps each by chance, most do in the end.
  """
  _, module, filters, params, statistics = build(width=4, depth=1, views=8, filter_warmup=150)
  seen = train(module, filters, params, statistics, few_dimensions_decide, 170, learning_rate=0.03)
  found = [masks(statistics)['layer_0'] for _, statistics, _ in seen]
  assert all((mask_VxN.sum(1) == 4).all() for mask_VxN in found)
  start, end = (mask_VxN[:, [0, DIM]].mean() for mask_VxN in (found[0], found[149]))
  assert start < 0.3 and end > 0.75
  for mask_VxN in found[150:]:
    np.testing.assert_array_equal(mask_VxN, found[149])


def test_exactly_d_v_are_kept_at_every_step_and_nothing_moves_after_the_warm_up():
  _, module, filters, params, statistics = build(filter_warmup=6)
  seen = train(module, filters, params, statistics, few_dimensions_decide, 12, learning_rate=0.05)
  for name in ('layer_0', 'layer_1'):
    found = [masks(statistics)[name] for _, statistics, _ in seen]
    assert all((mask_VxN.sum(1) == WIDTH).all() for mask_VxN in found)
    assert (found[5] != found[0]).any()
    for mask_VxN in found[6:]:
      np.testing.assert_array_equal(mask_VxN, found[5])
    by_score = [
      np.asarray(learned_filter.largest(params[name]['scores'], WIDTH)) for params, _, _ in seen
    ]
    # chosen by the scores that the step before left
    np.testing.assert_array_equal(found[5], by_score[4])
    moved = [np.abs(grads[name]['scores']).max() for _, _, grads in seen]
    assert min(moved[:6]) > 0 and max(moved[6:]) == 0
    assert seen[-1][1][name]['steps'] == 12


@pytest.mark.parametrize('trained', [False, True])
def test_forward_equals_ssr_s_with_the_same_mask_and_kernel_rows(trained):
  _, module, filters, params, statistics = build(filter_warmup=20)
  if trained:
    params, statistics, _ = train(
      module, filters, params, statistics, few_dimensions_decide, 10, 0.05
    )[-1]
  twin_filters, twin_params = {}, dict(params)
  for name, mask_VxN in masks(statistics).items():
    kept_VxK = np.stack([np.flatnonzero(mask_N) for mask_N in mask_VxN]).astype(np.int32)
    twin_filters[name] = static_filter.StaticFilter(
      kept_VxK, static_filter.invert(kept_VxK, mask_VxN.shape[1])
    )
    kernel_VxKxH = np.take_along_axis(np.asarray(params[name]['kernel']), kept_VxK[..., None], 1)
    twin_params[name] = {'kernel': kernel_VxKxH} | {k: params[name][k] for k in ('bias', 'norm')}
  twin = ssr_s.SSRS(
    settings.make(
      'ssr_s', {'width': WIDTH, 'views': VIEWS, 'embedding_dim': DIM, 'input_norm': 'none'}
    ),
    INPUTS,
  )
  rows_BxFxD = few_dimensions_decide(jax.random.key(9))[0]
  expected = twin.apply(
    {'params': twin_params, 'constants': twin_filters}, {'embedding': rows_BxFxD}, train=False
  )
  found = module.apply(
    {'params': params, 'masks': statistics, 'constants': filters},
    {'embedding': rows_BxFxD},
    train=False,
  )
  np.testing.assert_allclose(found, expected, atol=2e-6)


def test_rows_outside_the_mask_learn_in_the_warm_up_alone_and_contribute_nothing():
  _, module, filters, params, statistics = build(filter_warmup=1)
  (_, statistics, during), (_, _, after) = train(
    module, filters, params, statistics, few_dimensions_decide, 2
  )
  for name, mask_VxN in masks(statistics).items():
    kernel_VxNxH, scores_VxN = (np.asarray(during[name][part]) for part in ('kernel', 'scores'))
    assert (np.abs(kernel_VxNxH).max(-1) > 0).all() and (scores_VxN != 0).all()
    kernel_VxNxH, scores_VxN = (np.asarray(after[name][part]) for part in ('kernel', 'scores'))
    assert (kernel_VxNxH[~mask_VxN] == 0).all() and (
      np.abs(kernel_VxNxH[mask_VxN]).max(-1) > 0
    ).all()
    assert (scores_VxN == 0).all()


def test_straight_through_is_the_mask_exactly_with_the_derivative_of_the_scores():
  scores_VxU = jnp.float32([[0.1, 1e-9, 0.7], [3e5, 0.2, 0.1]])
  mask_VxU = learned_filter.largest(scores_VxU, 1)
  np.testing.assert_array_equal(mask_VxU, [[False, False, True], [True, False, False]])
  out, pull = jax.vjp(lambda s: learned_filter.straight_through(mask_VxU, s), scores_VxU)
  np.testing.assert_array_equal(out, mask_VxU.astype(jnp.float32))
  np.testing.assert_array_equal(pull(scores_VxU)[0], scores_VxU)


def test_a_masked_kernel_has_exact_zeros_and_the_derivative_without_a_mask():
  kernel_VxNxH, mask_VxN = (
    jax.random.normal(jax.random.key(0), (2, 3, 4)),
    jnp.array([[True, False, True]] * 2),
  )
  bar_VxNxH = jax.random.normal(jax.random.key(1), (2, 3, 4))
  out, pull = jax.vjp(
    lambda k, s: learned_filter.masked(k, mask_VxN, s), kernel_VxNxH, jnp.full((2, 3), 0.3)
  )
  np.testing.assert_array_equal(out, np.where(mask_VxN[..., None], kernel_VxNxH, 0))
  kernel_bar_VxNxH, scores_bar_VxN = pull(bar_VxNxH)
  np.testing.assert_array_equal(kernel_bar_VxNxH, bar_VxNxH)
  np.testing.assert_allclose(scores_bar_VxN, jnp.sum(bar_VxNxH * kernel_VxNxH, -1), rtol=1e-5)


def test_equal_scores_still_keep_exactly_as_many():
  assert learned_filter.largest(jnp.zeros((2, 5)), 3).sum(1).tolist() == [3, 3]


def test_whole_fields_are_chosen_where_the_unit_is_a_field():
  _, module, filters, params, statistics = build(filter_unit='field', views=8, filter_warmup=100)
  assert params['layer_0']['scores'].shape == (8, FIELDS) and params['layer_1']['scores'].shape == (
    8,
    8 * WIDTH,
  )
  first, last = train(
    module, filters, params, statistics, few_dimensions_decide, 100, learning_rate=0.03
  )[::99]
  kept_VxF = masks(last[1])['layer_0']
  assert (kept_VxF.sum(1) == WIDTH // DIM).all() and (kept_VxF != masks(first[1])['layer_0']).any()
  # the two that decide
  assert masks(first[1])['layer_0'][:, :2].mean() < 0.3 and kept_VxF[:, :2].mean() > 0.5
  rows_BxFxD = few_dimensions_decide(jax.random.key(9))[0]

  def logits(rows_BxFxD):
    variables = {'params': last[0], 'masks': last[1], 'constants': filters}
    return module.apply(variables, {'embedding': rows_BxFxD}, train=False)

  for field in range(FIELDS):
    changed = logits(rows_BxFxD.at[:, field].add(1.0)) != logits(rows_BxFxD)
    assert changed.any() == kept_VxF[:, field].any()


def test_what_cannot_be_learned_names_the_field():
  with pytest.raises(ValueError, match='filter_warmup=0: expected an integer of at least 1'):
    build(filter_warmup=0)
  with pytest.raises(ValueError, match='filter=learned: needs residual=false'):
    build(form='code')
