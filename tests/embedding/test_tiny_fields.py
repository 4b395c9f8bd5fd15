"""Which fields are tiny, where their rows are, and how arrays over fields part and meet again.

That tables with them are trained as on one device: test_table.py.
"""

import numpy as np
import pytest

from rec_sparse.embedding import placement
from rec_sparse.embedding import tiny_fields

SIZES = (1, 5000, 256, 257, 3)
OFFSETS = np.cumsum(SIZES) - SIZES


def test_which_fields_are_tiny_and_where_their_rows_are():
  fields = tiny_fields.choose(SIZES, placement.make_mesh(2))
  assert fields.tiny_J.tolist() == [0, 2, 4] and fields.large_J.tolist() == [1, 3]
  np.testing.assert_array_equal(fields.rows_Y, [0, *range(5001, 5257), *range(5514, 5517)])
  ids_BxF = np.array([OFFSETS, OFFSETS + np.array(SIZES) - 1], np.int32)
  tiny_BxJ, large_BxJ = tiny_fields.split_ids(fields, ids_BxF)
  np.testing.assert_array_equal(fields.rows_Y[tiny_BxJ], ids_BxF[:, [0, 2, 4]])
  np.testing.assert_array_equal(large_BxJ, ids_BxF[:, [1, 3]])


def test_what_is_split_is_joined():
  fields = tiny_fields.choose(SIZES, placement.make_mesh(2))
  x_BxFxD = np.arange(2 * 5 * 3).reshape(2, 5, 3)
  np.testing.assert_array_equal(
    tiny_fields.join(fields, *tiny_fields.split(fields, x_BxFxD)), x_BxFxD
  )


@pytest.mark.parametrize('sizes, devices', [(SIZES, 1), ((5000, 257), 2), ((256, 3), 2)])
def test_one_stack_where_a_second_would_hold_nothing(sizes, devices):
  assert tiny_fields.choose(sizes, placement.make_mesh(devices)) is None
