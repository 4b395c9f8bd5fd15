"""What chosen fields are worth on held-out rows, by the simplest model that knows pairs.

Ours. A sum of tables, grown stage by stage: a field adds a log odds to each of its values, then one
to each of its values together with those of its partner, the chosen field given which it tells
most. Both are Newton steps of the log loss of the training rows from what stands, with a ridge; no
stage is fitted again. So a field helps here as far as it tells something on top of the others,
alone or with one of them, and rare cells change little.
"""

from collections.abc import Callable, Iterator, Sequence
import math
from typing import NamedTuple

import numpy as np

_RIDGE = 1.0  # of a value: rows of p = 1/2 count 1/4 each
_PAIR_RIDGE = 10.0  # of a pair of values


class Rows(NamedTuple):
  """A chunk of rows."""

  code_FxB: Sequence[np.ndarray]  # of each field the bucket
  label_BxT: np.ndarray


class Stage(NamedTuple):
  """What a field adds."""

  field: int
  partner: int  # -1: none
  logit_JxWxT: np.ndarray  # J: buckets of the partner, 1 without one


Source = Callable[[], Iterator[Rows]]


def base(label_rate_T: np.ndarray) -> np.ndarray:
  """Log odds of every row before any field; finite for labels of one class too."""
  rate_T = np.clip(label_rate_T, 1e-6, 1 - 1e-6)
  return np.log(rate_T / (1 - rate_T))


def grow(
  train: Source,
  base_T: np.ndarray,
  stages: Sequence[Stage],
  field: int,
  partner: int,
  sizes: Sequence[int],
) -> Stage:
  """The next stage, from one pass over the training rows. `sizes`: buckets of each field."""
  tasks = len(base_T)
  strata = sizes[partner] if partner >= 0 else 1
  shape = (strata, sizes[field])
  slope_JxWxT = np.zeros((*shape, tasks))
  curve_JxWxT = np.zeros((*shape, tasks))
  for rows in train():
    cell_B = _cells(rows, field, partner, sizes[field])
    p_BxT = _sigmoid(_logits(rows, base_T, stages))
    for t in range(tasks):
      for sums, weight_B in (
        (slope_JxWxT, rows.label_BxT[:, t] - p_BxT[:, t]),
        (curve_JxWxT, p_BxT[:, t] * (1 - p_BxT[:, t])),
      ):
        sums[..., t] += np.bincount(cell_B, weight_B, math.prod(shape)).reshape(shape)

  own_WxT = slope_JxWxT.sum(0) / (curve_JxWxT.sum(0) + _RIDGE)
  if partner < 0:
    return Stage(field, partner, own_WxT[None])
  left_JxWxT = slope_JxWxT - curve_JxWxT * own_WxT
  return Stage(field, partner, own_WxT + left_JxWxT / (curve_JxWxT + _PAIR_RIDGE))


def logloss(rows: Source, base_T: np.ndarray, stages: Sequence[Stage]) -> float:
  """Mean log loss over rows and tasks, nats."""
  total = 0.0
  count = 0
  for chunk in rows():
    sign_BxT = np.where(chunk.label_BxT > 0, -1.0, 1.0)
    total += np.logaddexp(0.0, sign_BxT * _logits(chunk, base_T, stages)).sum()
    count += sign_BxT.size
  return float(total / count)


def _logits(rows: Rows, base_T: np.ndarray, stages: Sequence[Stage]) -> np.ndarray:
  logit_BxT = np.tile(base_T, (len(rows.label_BxT), 1))
  for stage in stages:
    table_JWxT = stage.logit_JxWxT.reshape(-1, len(base_T))
    logit_BxT += table_JWxT[_cells(rows, stage.field, stage.partner, stage.logit_JxWxT.shape[1])]
  return logit_BxT


def _cells(rows: Rows, field: int, partner: int, size: int) -> np.ndarray:
  code_B = rows.code_FxB[field].astype(np.int64)
  return code_B if partner < 0 else rows.code_FxB[partner] * np.int64(size) + code_B


def _sigmoid(logit: np.ndarray) -> np.ndarray:
  return 0.5 * (1 + np.tanh(logit / 2))
