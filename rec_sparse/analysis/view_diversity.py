"""Do the views of a layer look at different things? (SSR, arXiv 2604.08011, figure 6)"""

import math

import numpy as np


def projections(kernel_VxNxK: np.ndarray) -> dict:
  """Views that project (SSR-D): cosine between flattened W_i and W_j, and overlap of their column
  spaces.

  The cosine of the paper changes when a view's outputs are permuted or rotated, though it would
  read the same inputs; the overlap |Q_i' Q_j|_F^2 / K of orthonormal bases does not: 1 for equal
  spaces, K / N expected for random ones.
  """
  kernel_VxNxK = np.asarray(kernel_VxNxK, np.float64)
  views, inputs, dims = kernel_VxNxK.shape
  flat = kernel_VxNxK.reshape(views, -1)
  flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), np.finfo(np.float64).tiny)
  basis_VxNxK = np.linalg.qr(kernel_VxNxK)[0]  # Q = min(N, K)
  rank = basis_VxNxK.shape[2]
  side_by_side = basis_VxNxK.transpose(1, 0, 2).reshape(inputs, views * rank)
  products = (
    np.square(side_by_side.T @ side_by_side).reshape(views, rank, views, rank).sum((1, 3)) / rank
  )
  return {
    'cosine': _pairs(flat @ flat.T),
    'subspace_overlap': _pairs(products) | {'expected': min(dims / inputs, 1.0)},
  }


def filters(indices_VxK: np.ndarray, inputs: int) -> dict:
  """Views that select (SSR-S): Jaccard overlap of index sets, and the share of inputs that any view
  reads.

  `expected` is exact for views drawn without replacement, each independently of the others.
  """
  views, kept = indices_VxK.shape
  reads_VxN = np.zeros((views, inputs))
  reads_VxN[np.arange(views)[:, None], np.asarray(indices_VxK)] = 1.0
  shared = reads_VxN @ reads_VxN.T
  size_V = reads_VxN.sum(1)
  return {
    'jaccard': _pairs(shared / (size_V[:, None] + size_V[None, :] - shared))
    | {'expected': expected_jaccard(inputs, kept)},
    'coverage': {
      'share': float(np.mean(reads_VxN.any(0))),
      'expected': 1.0 - (1.0 - kept / inputs) ** views,
    },
    'reads_per_input': {'max': int(reads_VxN.sum(0).max()), 'mean': views * kept / inputs},
  }


def indices(mask_VxN: np.ndarray) -> np.ndarray:
  """indices_VxK, rising in each view, of a mask that keeps K of N inputs in every view."""
  return np.nonzero(mask_VxN)[1].reshape(len(mask_VxN), -1).astype(np.int32)


def expected_jaccard(inputs: int, kept: int) -> float:
  """Mean Jaccard overlap of two independent uniform `kept`-subsets of `inputs`: a sum over the
  hypergeometric law.
  """
  sets = math.comb(inputs, kept)
  shared = range(max(2 * kept - inputs, 0), kept + 1)
  # exact: too large for floats
  ways = (math.comb(kept, i) * math.comb(inputs - kept, kept - i) for i in shared)
  return sum(count / sets * i / (2 * kept - i) for i, count in zip(shared, ways, strict=True))


def _pairs(matrix_VxV: np.ndarray) -> dict:
  """The matrix, and what lies off its diagonal; None with one view."""
  off = matrix_VxV[~np.eye(len(matrix_VxV), dtype=bool)]
  found = (
    {'mean': off.mean(), 'mean_absolute': np.abs(off).mean(), 'max': off.max()} if off.size else {}
  )
  names = ('mean', 'mean_absolute', 'max')
  return {n: float(found[n]) if found else None for n in names} | {'matrix': matrix_VxV.tolist()}
