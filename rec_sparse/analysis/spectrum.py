"""Singular values of tall or small matrices, and three ways to count how many of them matter."""

from collections.abc import Sequence

import numpy as np

ROWS_AT_ONCE = 65_536


def singular_values(matrix_RxD: np.ndarray) -> np.ndarray:
  """Singular values in falling order, float64.

  A tall matrix goes through its Gram matrix, a block of rows at a time. Through the Gram matrix
  values below 1e-8 of the largest are noise; that is far below what any count here sees.
  """
  rows, columns = matrix_RxD.shape
  if rows <= 4 * columns:
    return np.linalg.svd(np.asarray(matrix_RxD, np.float64), compute_uv=False)
  gram_DxD = np.zeros((columns, columns))
  for first in range(0, rows, ROWS_AT_ONCE):
    block = np.asarray(matrix_RxD[first : first + ROWS_AT_ONCE], np.float64)
    gram_DxD += block.T @ block
  return np.sqrt(np.maximum(np.linalg.eigvalsh(gram_DxD)[::-1], 0.0))


def summary(singular: np.ndarray) -> dict:
  """The singular values, and the three counts of them."""
  return {
    'singular_values': singular.tolist(),
    'entropy_rank': entropy_rank(singular),
    'stable_rank': stable_rank(singular),
    'abundance': abundance(singular),
  }


def entropy_rank(singular: Sequence[float]) -> float:
  """exp of the entropy of the singular values as a distribution; 0 for zero.

  Roy and Vetterli 2007, definition 1.
  """
  p = np.asarray(singular, np.float64)
  p = p[p > 0] / max(p.sum(), np.finfo(np.float64).tiny)
  return float(np.exp(-np.sum(p * np.log(p)))) if len(p) else 0.0


def stable_rank(singular: Sequence[float]) -> float:
  """Squared Frobenius norm over squared largest singular value; 0 for zero.

  Rudelson and Vershynin 2007.
  """
  return float(np.sum(_relative(singular) ** 2))


def abundance(singular: Sequence[float]) -> float:
  """Sum of the singular values over the largest, information abundance; 0 for zero.

  Guo et al. 2023 (arXiv 2310.04400), definition 1.
  """
  return float(np.sum(_relative(singular)))


def _relative(singular: Sequence[float]) -> np.ndarray:
  """Over the largest; empty where there is nothing above 0."""
  values = np.asarray(singular, np.float64)
  if not len(values) or values.max() <= 0:
    return np.empty(0)
  return values / values.max()
