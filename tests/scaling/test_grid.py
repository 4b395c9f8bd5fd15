"""The grid: every arm gets the same axes; what an arm does not have does not multiply its trials."""

import pytest

from rec_sparse import config as config_lib
from rec_sparse.scaling import grid as grid_lib

ARMS = ('dense_mlp', 'ssr_s')
GRID = grid_lib.Grid(ARMS, dict.fromkeys(ARMS, (8, 16)), (1,), (2, 4), (1e-3, 1e-2), (0, 1, 2))


def test_every_arm_gets_every_rate_and_seed_and_views_multiply_multi_view_arms_only():
  configs = grid_lib.trials(GRID, {'batch_size': 64}, [])
  assert len(configs) == 2 * 6 + 2 * 2 * 6 == len({config_lib.run_id(c) for c in configs})
  assert {c.batch_size for c in configs} == {64}


def test_a_group_is_one_shape():
  configs = grid_lib.trials(GRID, {}, [])
  groups = grid_lib.groups(configs)
  assert [len(group) for group in groups] == [6] * 6
  assert [c for group in groups for c in group] == configs
  assert all(len({(c.model, c.width, c.depth, c.views) for c in group}) == 1 for group in groups)


def test_a_setting_goes_to_the_arms_that_have_it():
  grid = grid_lib.Grid(
    ('ssr_s', 'ssr_d'), {'ssr_s': (8,), 'ssr_d': (8,)}, (1,), (2,), (1e-3,), (0,)
  )
  configs = grid_lib.trials(grid, {}, ['iterations=3', 'dropout=0.1'])
  assert [c.dropout for c in configs] == [0.1, 0.1]
  assert configs[1].options.iterations == 3


@pytest.mark.parametrize(
  'change, settings, message',
  [
    ({}, ['iteration=3'], 'iteration: dense_mlp has no such field'),
    ({'seeds': ()}, [], '--seeds: expected at least one value'),
    ({'arms': ('mlp',), 'widths': {'mlp': (8,)}}, [], "model 'mlp' is unknown"),
    ({'widths': {'dense_mlp': (0,), 'ssr_s': (8,)}}, [], 'width=0'),
  ],
)
def test_wrong_axes_are_named(change, settings, message):
  with pytest.raises(ValueError, match=message):
    grid_lib.trials(GRID.__class__(**(GRID.__dict__ | change)), {}, settings)


def test_widths_for_all_arms_or_arm_by_arm():
  assert grid_lib.parse_widths(ARMS, ['8', '16']) == {'dense_mlp': (8, 16), 'ssr_s': (8, 16)}
  own = grid_lib.parse_widths(ARMS, ['dense_mlp:64', '128', 'ssr_s:8'])
  assert own == {'dense_mlp': (64, 128), 'ssr_s': (8,)}


@pytest.mark.parametrize(
  'items, message',
  [
    (['8', 'x'], 'expected numbers'),
    (['ssr_d:8'], "'ssr_d' is none of the arms"),
    (['ssr_s:8'], 'dense_mlp has none'),
  ],
)
def test_wrong_widths_are_named(items, message):
  with pytest.raises(ValueError, match=message):
    grid_lib.parse_widths(ARMS, items)
