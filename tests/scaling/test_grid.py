"""A study as configs: every arm gets the same rates and seeds, and equal sizes where it asks."""

import dataclasses

import pytest

from rec_sparse import config as config_lib
from rec_sparse import schema as schema_lib
from rec_sparse import train
from rec_sparse.scaling import grid
from rec_sparse.scaling import study_file

FIELDS = tuple(schema_lib.Field(f'field_{i}', 'categorical', 10) for i in range(8))
SCHEMA = schema_lib.FeatureSchema(FIELDS, ('label',), None, {}, 'abc', {}, None)
SCALE = {'width': [8, 16], 'views': [2, 4]}
LADDERS = {
  'dense_mlp': {'model': 'dense_mlp', 'scale': SCALE},
  'ssr_s': {'model': 'ssr_s', 'scale': SCALE},
}


def make_study(arms, **common):
  raw = {'seeds': 3, 'learning_rates': [1e-3, 1e-2], 'common': common, 'arms': arms}
  return study_file.from_raw('mine', raw)


def test_every_arm_gets_every_rate_and_seed_and_views_multiply_multi_view_arms_only():
  found = grid.trials(make_study(LADDERS, batch_size=64), SCHEMA)
  assert {name: len(own) for name, own in found.items()} == {
    'dense_mlp': 2 * 6,
    'ssr_s': 2 * 2 * 6,
  }
  every = [config for own in found.values() for config in own]
  assert len({config_lib.run_id(c) for c in every}) == len(every)
  assert {(c.batch_size, c.data_fingerprint) for c in every} == {(64, 'abc')}


def test_a_group_is_one_shape():
  found = grid.trials(make_study(LADDERS), SCHEMA)
  every = [config for own in found.values() for config in own]
  groups = grid.groups(every)
  assert [len(group) for group in groups] == [6] * 6
  assert [c for group in groups for c in group] == every
  assert all(len({(c.model, c.width, c.depth, c.views) for c in group}) == 1 for group in groups)


def test_a_plan_lists_trials_by_arm_and_what_those_of_an_arm_share():
  """Arms of one model, one of which is a rung of the other."""
  arms = {
    'ladder': {'model': 'ssr_d', 'scale': {'iterations': [1, 5], 'width': [8]}},
    'one': {'model': 'ssr_d', 'width': 8, 'iterations': 5},
  }
  study = make_study(arms)
  planned = grid.plan(study, grid.trials(study, SCHEMA))
  assert len(planned.trials['ladder']) == 12 and len(planned.trials['one']) == 6
  assert set(planned.trials['one']) < set(planned.trials['ladder'])
  assert planned.recipes['one']['iterations'] == 5
  assert not {'iterations', 'width', 'seed', 'learning_rate'} & set(planned.recipes['ladder'])


@pytest.mark.parametrize('count', ['dense_params_nonzero', 'flops_per_example'])
def test_an_arm_of_equal_size_is_as_near_as_a_width_can_bring_it(count):
  arms = {
    'wide': {'model': 'dense_mlp', 'against': 'first', 'equal': count},
    'first': {'model': 'ssr_d', 'against': 'first', 'views': 4, 'width': 8},
  }
  found = grid.trials(make_study(arms), SCHEMA)
  wide = found['wide'][0]
  wanted = train.counts(found['first'][0], SCHEMA)[count]

  def distance(width):
    return abs(train.counts(dataclasses.replace(wide, width=width), SCHEMA)[count] - wanted)

  assert wide.width == min(range(1, 200), key=distance)
  assert distance(wide.width) < 0.05 * wanted


def test_values_that_do_not_go_together_name_the_arm():
  study = make_study({'first': {'model': 'ssr_d', 'depth': 2, 'view_widths': [4]}})
  with pytest.raises(ValueError, match="arm 'first': view_widths=4: expected 2 widths"):
    grid.trials(study, SCHEMA)
