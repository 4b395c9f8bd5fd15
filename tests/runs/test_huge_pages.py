"""Large arrays are put into huge pages and keep their values; small ones are left alone."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse.runs import huge_pages

huge = pytest.mark.skipif(
  not pathlib.Path('/sys/kernel/mm/transparent_hugepage/enabled').exists(),
  reason='a system without huge pages',
)


def advised(array):
  """Whether the kernel marked the middle of the array as advised to use huge pages ('hg')."""
  middle = array.unsafe_buffer_pointer() + array.nbytes // 2
  for area in re.split(r'\n(?=[0-9a-f]+-[0-9a-f]+ )', pathlib.Path('/proc/self/smaps').read_text()):
    start, end = (int(x, 16) for x in area.split(' ', 1)[0].split('-'))
    if start <= middle < end:
      return 'hg' in re.search(r'VmFlags: (.*)', area)[1].split()
  raise AssertionError('the array lies nowhere')


@huge
def test_large_arrays_are_advised_and_unchanged():
  large_N = jnp.arange(huge_pages.SMALLEST // 4, dtype=jnp.float32)
  expected_N = np.array(large_N)
  assert huge_pages.advise((large_N,))[0] is large_N
  assert advised(large_N)
  np.testing.assert_array_equal(large_N, expected_N)


@huge
def test_the_advice_stays_with_donated_memory():
  state = huge_pages.advise(jnp.zeros(huge_pages.SMALLEST // 4))
  state = jax.jit(lambda x_N: x_N.at[0].add(1.0), donate_argnums=0)(state)
  assert advised(state) and state[0] == 1


@huge
def test_smaller_arrays_are_left_alone(monkeypatch):
  calls = []
  monkeypatch.setattr(huge_pages, '_advise', lambda *area: calls.append(area))
  huge_pages.advise(
    {'small': jnp.zeros(huge_pages.SMALLEST // 4 - 1), 'large': jnp.zeros(huge_pages.SMALLEST // 4)}
  )
  assert [size for _, size in calls] == [huge_pages.SMALLEST]
