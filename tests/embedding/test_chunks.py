"""Folding over chunks visits every row once, in order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse.embedding import chunks


@pytest.mark.parametrize('rows', [1, 4, 5, 13])
def test_each_row_is_visited_once_whatever_the_remainder(monkeypatch, rows):
  monkeypatch.setattr(chunks, 'CHUNK', 4)

  def append(carry, arrays):
    seen_O, filled = carry
    ids_O, values_O = arrays
    return seen_O.at[ids_O].add(values_O * (filled + 1)), filled + 1

  ids_O, values_O = jnp.arange(rows), jnp.arange(rows, dtype=jnp.float32) + 1
  seen_O, steps = jax.jit(
    lambda *a: chunks.in_chunks(append, (jnp.zeros(rows), jnp.float32(0)), a)
  )(ids_O, values_O)
  assert int(steps) == -(-rows // 4)
  np.testing.assert_array_equal(seen_O, np.asarray(values_O) * (np.arange(rows) // 4 + 1))
