"""Compact kernels against the dense product, and which of them are chosen."""

import jax.numpy as jnp
import numpy as np
import pytest

from rec_sparse.sparsity import compact
from rec_sparse.sparsity import structure


def kernel(mask_NxH):
  """Normal weights where the mask is True."""
  return np.where(mask_NxH, np.random.default_rng(1).normal(size=mask_NxH.shape), 0).astype('f4')


def masks():
  """Name -> mask of 64 inputs and 80 outputs."""
  rng = np.random.default_rng(0)
  few = np.zeros((64, 80), bool)
  few[np.ix_([3, 9, 60], [0, 41, 42, 79])] = True
  n_m = structure.Structure('n_m', 4)
  block = structure.Structure('block', block=16)
  of_groups = structure.grid(n_m, few.shape)
  of_blocks = structure.grid(block, few.shape)
  one_of_four = np.argsort(rng.random((of_groups.groups, 4))) < 1
  return {
    'all': np.ones((64, 80), bool),
    'none': np.zeros((64, 80), bool),
    'few_units': few,
    'at_random': rng.random((64, 80)) < 0.2,
    'n_m': np.asarray(structure.spread(of_groups, one_of_four)),
    'block': np.asarray(structure.spread(of_blocks, np.isin(np.arange(20), [1, 5, 19])[None])),
  }


@pytest.mark.parametrize('outputs', [0, 1, 30])
@pytest.mark.parametrize('name', masks())
def test_a_compact_kernel_has_the_product_of_the_dense_one(name, outputs):
  kernel_NxH = kernel(masks()[name])
  x_NxB = np.random.default_rng(2).normal(size=(64, 7)).astype('f4')
  form = compact.of_kernel(kernel_NxH, outputs)
  found_HxB = compact.product(form, jnp.asarray(x_NxB))
  np.testing.assert_allclose(found_HxB, kernel_NxH.T @ x_NxB, atol=1e-5)


def test_what_is_left_out():
  few = compact.of_kernel(kernel(masks()['few_units']))
  assert few.inputs_GxK.tolist() == [[3, 9, 60]] and few.kernel_GxKxJ.shape == (1, 3, 4)
  assert compact.of_kernel(kernel(masks()['all'])).place_H is None
  blocks = kernel(masks()['block'])
  assert compact.share(compact.of_kernel(blocks, 16), blocks) == 3 * 16 * 16 / (64 * 80)


def test_the_choice():
  chosen = {name: compact.choose(kernel(mask)) for name, mask in masks().items()}
  assert chosen['all'] is None and chosen['at_random'] is None and chosen['n_m'] is None
  assert len(chosen['few_units'].kernel_GxKxJ) == 1
  blocks = np.kron(np.arange(8)[:, None] == np.arange(10) % 8, np.ones((16, 16), bool))
  assert compact.choose(kernel(blocks)).kernel_GxKxJ.shape == (10, 16, 16)
  one_of_16 = kernel(np.repeat(np.arange(64)[:, None] % 16 == 3, 80, 1))
  rolled = np.stack([np.roll(one_of_16[:, h], h) for h in range(80)], 1)
  assert compact.choose(rolled).kernel_GxKxJ.shape == (80, 4, 1)
