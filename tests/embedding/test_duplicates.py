"""Duplicates against a dense segment sum."""

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse.embedding import duplicates

ROWS, N, DIM = 13, 24, 3
METHODS = ('scratch', 'sort')

# below 0 and from ROWS on: padding
ids_strategy = st.lists(st.integers(-2, ROWS + 5), min_size=N, max_size=N)


def dense_sum(ids_O, grads_OxD, rows):
  dense_RxD = np.zeros((rows, grads_OxD.shape[1]), np.float64)
  inside_O = (ids_O >= 0) & (ids_O < rows)
  np.add.at(dense_RxD, ids_O[inside_O], grads_OxD[inside_O])
  return dense_RxD


def check(method, scratch_R, ids_O, grads_OxD, rows):
  out = jax.jit(duplicates.combine, static_argnums=(0, 4))(
    method, scratch_R, ids_O, grads_OxD, rows
  )
  unique_O = np.asarray(out.unique_ids_O)
  touched = np.unique(ids_O[(ids_O >= 0) & (ids_O < rows)])
  assert np.unique(unique_O).size == unique_O.size, 'unique_indices=True would be a lie'
  np.testing.assert_array_equal(np.sort(unique_O[unique_O < rows]), touched)
  dense_RxD = np.zeros((rows, grads_OxD.shape[1]), np.float32)
  dense_RxD[unique_O[unique_O < rows]] = np.asarray(out.summed_OxD)[unique_O < rows]
  np.testing.assert_allclose(
    dense_RxD, dense_sum(ids_O, grads_OxD, rows), rtol=1e-5, atol=1e-5 * len(ids_O) ** 0.5
  )
  return out.scratch_R


@pytest.mark.parametrize('method', METHODS)
@settings(max_examples=40, deadline=None)
@given(batches=st.lists(ids_strategy, min_size=1, max_size=3), seed=st.integers(0, 2**31))
def test_equals_dense_sum_and_needs_no_clearing(method, batches, seed):
  rng = np.random.default_rng(seed)
  # any content
  scratch_R = jnp.asarray(
    rng.integers(-5, 2 * N, duplicates.new_scratch(ROWS, method).shape), jnp.int32
  )
  for batch in batches:
    grads_OxD = rng.standard_normal((N, DIM)).astype(np.float32)
    scratch_R = check(method, scratch_R, np.asarray(batch, np.int32), grads_OxD, ROWS)


@pytest.mark.parametrize('method', METHODS)
def test_large_batch_with_heavy_duplicates_repeats_bit_for_bit(method):
  rng = np.random.default_rng(0)
  rows, n = 100_000, 20_000
  ids_O = (rng.random(n) ** 12 * rows).astype(np.int32)
  grads_OxD = rng.standard_normal((n, 16)).astype(np.float32)
  check(method, duplicates.new_scratch(rows, method), ids_O, grads_OxD, rows)
  step = jax.jit(duplicates.combine, static_argnums=(0, 4))
  runs = [
    step(method, duplicates.new_scratch(rows, method) + k, ids_O, grads_OxD, rows) for k in range(3)
  ]
  for run in runs[1:]:
    np.testing.assert_array_equal(run.summed_OxD, runs[0].summed_OxD)


@pytest.mark.parametrize('method', METHODS)
def test_vmap_over_trials(method):
  rng = np.random.default_rng(1)
  ids_SxO = rng.integers(0, ROWS + 2, (3, N)).astype(np.int32)
  grads_SxOxD = rng.standard_normal((3, N, DIM)).astype(np.float32)
  scratch_R = duplicates.new_scratch(ROWS, method)
  scratch_TxR = jnp.stack([scratch_R] * 3)
  combine = jax.jit(jax.vmap(lambda s, i, g: duplicates.combine(method, s, i, g, ROWS)))
  out = combine(scratch_TxR, ids_SxO, grads_SxOxD)
  step = jax.jit(duplicates.combine, static_argnums=(0, 4))
  for t in range(3):
    one = step(method, scratch_R, ids_SxO[t], grads_SxOxD[t], ROWS)
    np.testing.assert_array_equal(out.unique_ids_O[t], one.unique_ids_O)
    np.testing.assert_allclose(out.summed_OxD[t], one.summed_OxD, rtol=1e-6, atol=1e-6)


def test_bfloat16_gradients_are_summed_in_float32():
  ids_O = jnp.zeros(N, jnp.int32)
  grads_OxD = jnp.full((N, DIM), 1 + 2**-7, jnp.bfloat16)
  for method in METHODS:
    out = duplicates.combine(method, duplicates.new_scratch(ROWS, method), ids_O, grads_OxD, ROWS)
    total_D = out.summed_OxD[int(jnp.argmin(out.unique_ids_O))]
    np.testing.assert_array_equal(total_D, np.full(DIM, N * (1 + 2**-7), np.float32))


def test_bad_arguments_are_named():
  scratch_R, grads_OxD = duplicates.new_scratch(ROWS, 'scratch'), jnp.zeros((N, DIM))
  with pytest.raises(ValueError, match='expected int32'):
    duplicates.combine('scratch', scratch_R, jnp.zeros(N, jnp.float32), grads_OxD, ROWS)
  with pytest.raises(ValueError, match='expected scratch or sort'):
    duplicates.combine('hash', scratch_R, jnp.zeros(N, jnp.int32), grads_OxD, ROWS)
  with pytest.raises(ValueError, match='do not fit int32'):
    duplicates.combine('sort', scratch_R, jnp.zeros(N, jnp.int32), grads_OxD, 2**31 - N)


def test_default_method():
  assert [duplicates.default_method(p) for p in ('cpu', 'gpu', 'tpu')] == [
    'scratch',
    'sort',
    'sort',
  ]
