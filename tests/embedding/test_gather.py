"""The gather that XLA may not fuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse.embedding import gather
from rec_sparse.embedding import storage


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_lookup_equals_indexing(dtype):
  table_RxD = np.arange(21, dtype=np.float32).reshape(7, 3)
  ids_BxF = np.asarray([[0, 6, 6], [3, 1, 0]], np.int32)
  stored_RxD = storage.encode(jnp.asarray(table_RxD), dtype)
  rows_BxFxD = storage.decode(gather.read_rows(stored_RxD, jnp.asarray(ids_BxF)))
  assert rows_BxFxD.dtype == dtype
  np.testing.assert_array_equal(rows_BxFxD.astype(jnp.float32), table_RxD[ids_BxF])


def test_ids_outside_of_the_table_read_some_row():
  table_R = jnp.asarray([1.0, 2.0])
  (rows_O,) = gather.gather_rows((table_R,), jnp.asarray([-1, 2, 2**31 - 1], jnp.int32))
  np.testing.assert_array_equal(rows_O, [1, 2, 2])


@pytest.mark.parametrize('trials', [(), (2,)])
def test_cpu_keeps_the_gather_out_of_the_arithmetic(trials):
  """The conditional is worth a factor of two on CPU; if XLA learns to see through it, measure
  again.
  """

  def lookup(table_RxD, ids_BxF):
    return jnp.square(gather.read_rows(table_RxD, ids_BxF)) + 1

  args = (
    jax.ShapeDtypeStruct((*trials, 50, 4), jnp.float32),
    jax.ShapeDtypeStruct((*trials, 8, 3), jnp.int32),
  )
  compiled = jax.jit(jax.vmap(lookup) if trials else lookup).lower(*args).compile()
  assert ' conditional(' in compiled.as_text()
