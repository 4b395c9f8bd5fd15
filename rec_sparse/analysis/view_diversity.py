"""Do the views of a layer look at different things? (SSR, arXiv 2604.08011, figure 6)"""

import math

import numpy as np


def projections(kernel_VxNxK: np.ndarray) -> dict:
  """Views that project (SSR-D): cosines of W_i and W_j, and overlap of their column spaces.

  The cosine of the paper changes when a view's outputs are permuted or rotated, though it would
  read the same inputs; the overlap |Q_i' Q_j|_F^2 / K of orthonormal bases does not: 1 for equal
  spaces, K / N expected for random ones.
  """
  kernel_VxNxK = np.asarray(kernel_VxNxK, np.float64)
  views, inputs, dims = kernel_VxNxK.shape

  flat = kernel_VxNxK.reshape(views, -1)
  norm = np.linalg.norm(flat, axis=1, keepdims=True)
  flat = flat / np.maximum(norm, np.finfo(np.float64).tiny)

  basis_VxNxK, _ = np.linalg.qr(kernel_VxNxK)  # of min(N, K) columns
  rank = basis_VxNxK.shape[2]
  side_by_side = basis_VxNxK.transpose(1, 0, 2).reshape(inputs, views * rank)
  products = np.square(side_by_side.T @ side_by_side).reshape(views, rank, views, rank)
  overlap_VxV = products.sum((1, 3)) / rank
  return {
    'cosine': _pairs(flat @ flat.T),
    'subspace_overlap': _pairs(overlap_VxV) | {'expected': min(dims / inputs, 1.0)},
  }


def filters(indices_VxK: np.ndarray, inputs: int) -> dict:
  """Views that select (SSR-S): overlap of index sets, and the share of inputs that is read.

  The overlap is Jaccard's. `expected` is exact for views drawn without replacement, each
  independently of the others.
  """
  views, kept = indices_VxK.shape
  reads_VxN = np.zeros((views, inputs))
  reads_VxN[np.arange(views)[:, None], np.asarray(indices_VxK)] = 1.0

  shared_VxV = reads_VxN @ reads_VxN.T
  size_V = reads_VxN.sum(1)
  jaccard_VxV = shared_VxV / (size_V[:, None] + size_V[None, :] - shared_VxV)
  return {
    'jaccard': _pairs(jaccard_VxV) | {'expected': expected_jaccard(inputs, kept)},
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
  """Mean Jaccard overlap of two independent uniform `kept`-subsets of `inputs`.

  A sum over the hypergeometric law.
  """
  sets = math.comb(inputs, kept)
  overlap = 0.0
  for shared in range(max(2 * kept - inputs, 0), kept + 1):
    # exact: too large for floats
    ways = math.comb(kept, shared) * math.comb(inputs - kept, kept - shared)
    overlap += ways / sets * shared / (2 * kept - shared)
  return overlap


def _pairs(matrix_VxV: np.ndarray) -> dict:
  """The matrix, and what lies off its diagonal; None with one view."""
  matrix = matrix_VxV.tolist()
  off = matrix_VxV[~np.eye(len(matrix_VxV), dtype=bool)]
  if not off.size:
    return {'mean': None, 'mean_absolute': None, 'max': None, 'matrix': matrix}
  return {
    'mean': float(off.mean()),
    'mean_absolute': float(np.abs(off).mean()),
    'max': float(off.max()),
    'matrix': matrix,
  }
