"""Fields in the order in which a group LASSO lets them in: a control of AFE.

Logistic regression on one-hot fields with penalty c sum_f sqrt(W_f) |w_f| (Yuan and Lin 2006),
solved by FISTA (Beck and Teboulle 2009) from the strongest penalty, which lets no field in, down a
geometric path.
"""

from collections.abc import Sequence
import math

import numpy as np

_PATH = 30  # penalties
_WEAKEST = 1e-3  # of the strongest one
_STEPS = 15  # of FISTA at each penalty


def order(code_FxE: Sequence[np.ndarray], sizes: Sequence[int], label_ExT: np.ndarray) -> list[int]:
  """Fields by the penalty at which they come in, then by norm; the last ones never do."""
  fields = range(len(sizes))
  root_F = np.sqrt(np.array(sizes, np.float64) * label_ExT.shape[1])
  rate_T = label_ExT.mean(0).clip(1e-6, 1 - 1e-6)
  base_T = np.log(rate_T / (1 - rate_T))
  weights = [np.zeros((size, label_ExT.shape[1])) for size in sizes]

  slopes = _slopes(code_FxE, sizes, label_ExT, base_T, weights)
  strongest = max(np.linalg.norm(slopes[f]) / root_F[f] for f in fields)
  came_in = [_PATH] * len(sizes)
  for i, penalty in enumerate(strongest * np.geomspace(1, _WEAKEST, _PATH)):
    weights = _fista(code_FxE, sizes, label_ExT, base_T, weights, penalty * root_F)
    for f in fields:
      if weights[f].any():
        came_in[f] = min(came_in[f], i)
    if max(came_in) < _PATH:
      break
  return sorted(fields, key=lambda f: (came_in[f], -np.linalg.norm(weights[f])))


def _fista(
  code_FxE: Sequence[np.ndarray],
  sizes: Sequence[int],
  label_ExT: np.ndarray,
  base_T: np.ndarray,
  weights: list[np.ndarray],
  penalty_F: np.ndarray,
) -> list[np.ndarray]:
  """Weights (W, T) of each field after _STEPS proximal steps with momentum."""
  rate = 4 / len(sizes)  # a row has a 1 for each field, so the curvature is at most F / 4
  ahead = weights
  momentum = 1.0
  for _ in range(_STEPS):
    slopes = _slopes(code_FxE, sizes, label_ExT, base_T, ahead)
    new = [
      _shrunk(w - rate * slope, rate * penalty)
      for w, slope, penalty in zip(ahead, slopes, penalty_F, strict=True)
    ]
    following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
    ahead = [
      w + (momentum - 1) / following * (w - old) for w, old in zip(new, weights, strict=True)
    ]
    momentum = following
    weights = new
  return weights


def _shrunk(w: np.ndarray, by: float) -> np.ndarray:
  norm = np.linalg.norm(w)
  return w * max(1 - by / norm, 0) if norm else w


def _slopes(
  code_FxE: Sequence[np.ndarray],
  sizes: Sequence[int],
  label_ExT: np.ndarray,
  base_T: np.ndarray,
  weights: list[np.ndarray],
) -> list[np.ndarray]:
  """Gradient of the mean log loss, field by field."""
  logit_ExT = base_T + sum(w[code_E] for w, code_E in zip(weights, code_FxE, strict=True))
  gap_ExT = 0.5 * (1 + np.tanh(logit_ExT / 2)) - label_ExT
  return [
    np.stack([np.bincount(code_E, gap_E, size) for gap_E in gap_ExT.T], 1) / len(label_ExT)
    for code_E, size in zip(code_FxE, sizes, strict=True)
  ]
