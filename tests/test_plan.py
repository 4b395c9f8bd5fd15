"""Plans: one file, whole or refused; rows that stay are numbered one after another."""

import dataclasses

import numpy as np
import pytest

from rec_sparse import plan as plan_lib
from rec_sparse import schema as schema_lib

FIELDS = (
  schema_lib.Field('user', 'categorical', 4),
  schema_lib.Field('item', 'categorical', 3),
  schema_lib.Field('price', 'numeric', 2),
)
SCHEMA = schema_lib.FeatureSchema(FIELDS, ('label',), None, {}, 'print', {})


def test_a_plan_is_one_file(tmp_path):
  plan = plan_lib.Plan({'by': 'afe'}, 'print', plan_lib.keep_fields(SCHEMA, [0, 2]))
  path = tmp_path / 'plan.npz'
  plan_lib.save(plan, path)
  found = plan_lib.load(path)
  assert found.made_by == plan.made_by and found.hash == plan.hash
  np.testing.assert_array_equal(found.arrays['row_R'], [0, 1, 2, 3, -1, -1, -1, 4, 5])
  changed = plan_lib.Plan({'by': 'mi'}, 'print', plan.arrays)
  assert changed.hash != plan.hash
  other = plan_lib.keep_fields(SCHEMA, [0, 1])
  assert plan_lib.Plan({'by': 'afe'}, 'print', other).hash != plan.hash

  content = path.read_bytes()
  for damaged in (b'', b'no plan', content[:-30], content[:90] + b'?' + content[91:]):
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match='plan.npz: damaged'):
      plan_lib.load(path)
  path.unlink()
  with pytest.raises(ValueError, match='plan.npz: not found'):
    plan_lib.load(path)


def test_rows_that_stay_are_numbered_and_the_others_share_the_first():
  kept_R = np.array([0, 0, 1, 0, 0, 0, 0, 0, 0], bool)
  kept_R[7:] = True
  found = plan_lib.keep_rows(SCHEMA, kept_R)
  np.testing.assert_array_equal(found['kept_F'], [True, False, True])
  np.testing.assert_array_equal(found['row_R'], [0, 0, 1, 0, -1, -1, -1, 2, 3])
  everything = plan_lib.keep_rows(SCHEMA, np.ones(9, bool))
  np.testing.assert_array_equal(everything['row_R'], np.arange(9))
  np.testing.assert_array_equal(plan_lib.keep_fields(SCHEMA, [2, 0, 1])['row_R'], np.arange(9))


def test_plans_of_other_data_and_of_no_field_are_refused():
  nothing = plan_lib.Plan({}, 'print', plan_lib.keep_rows(SCHEMA, np.zeros(9, bool)))
  with pytest.raises(ValueError, match='--plan=x: leaves no field'):
    plan_lib.check_fits(nothing, SCHEMA, '--plan=x')
  other = plan_lib.Plan({}, 'another', plan_lib.keep_fields(SCHEMA, [0]))
  with pytest.raises(ValueError, match='--plan=x: is about another data set'):
    plan_lib.check_fits(other, SCHEMA, '--plan=x')
  with pytest.raises(ValueError, match='does not choose among fields and rows'):
    plan_lib.check_fits(plan_lib.Plan({}, 'print', {}), SCHEMA, '--plan=x')


def test_dimensions_follow_the_rows_that_stay():
  bin_R = np.array([1, 0, 0, 1, 2, 2, 2, 2, 2])
  kept_ZxD = np.array([[1, 1], [0, 1], [0, 0]], bool)
  plan = plan_lib.Plan({}, 'print', plan_lib.keep_dims(SCHEMA, bin_R, kept_ZxD))
  plan_lib.check_fits(plan, SCHEMA, 'x')
  runs = plan_lib.dim_runs(plan, SCHEMA)
  expected = [(1, '01'), (2, '11'), (1, '01'), (5, '00')]
  assert [(run.rows, run.kept) for run in runs] == expected

  with_dims = dataclasses.replace(SCHEMA, dim_runs=runs)
  kept_R = np.array([0, 0, 1, 0, 0, 0, 0, 1, 1], bool)
  fewer = plan_lib.Plan({}, 'print', plan_lib.keep_rows(SCHEMA, kept_R))
  assert plan_lib.dim_runs(fewer, SCHEMA) == ()
  found = [(run.rows, run.kept) for run in plan_lib.dim_runs(fewer, with_dims)]
  assert found == [(1, '01'), (1, '11'), (2, '00')]
  with pytest.raises(ValueError, match='would keep no dimension'):
    plan_lib.keep_dims(SCHEMA, bin_R, np.zeros((3, 2), bool))
