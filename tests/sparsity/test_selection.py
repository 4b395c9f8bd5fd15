"""Selection without sorting against lexsort."""

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from rec_sparse.sparsity import selection

SHAPE = (3, 8)  # groups, and entries of each
SMALLEST = jax.jit(selection.smallest)
VALUES = [0.0, -0.0, 1.0, -1.0, 2.5, 1e-40, np.inf, -np.inf, np.nan, -3e38]


@given(
  keys=st.lists(st.sampled_from(VALUES), min_size=48, max_size=48),
  counts=st.lists(st.integers(0, 8), min_size=3, max_size=3),
)
@hypothesis_settings(max_examples=100, deadline=None)
def test_the_smallest_are_the_first_ones_of_a_sort(keys, counts):
  keys = jnp.array(keys, jnp.float32).reshape(2, *SHAPE)
  counts = jnp.array(counts)[:, None]
  order = jnp.lexsort((keys[1], keys[0]))
  first = jnp.broadcast_to(jnp.arange(8)[None] < counts, SHAPE)
  want = np.zeros(SHAPE, bool)
  np.put_along_axis(want, np.asarray(order), np.asarray(first), -1)
  np.testing.assert_array_equal(SMALLEST(keys, counts), want)


def test_many_entries_that_are_equal_by_the_first_key():
  rng = np.random.default_rng(0)
  keys = np.stack([rng.integers(0, 3, 1000), rng.random(1000)]).astype(np.float32)
  for count in (0, 1, 500, 1000):
    want = np.zeros(1000, bool)
    want[np.lexsort(keys[::-1])[:count]] = True
    np.testing.assert_array_equal(SMALLEST(keys, count), want)
