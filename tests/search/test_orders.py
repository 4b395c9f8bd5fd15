"""Controls of AFE, and the model that judges fields on held-out rows."""

import numpy as np
import pytest

from rec_sparse.search import field_gates
from rec_sparse.search import heldout
from rec_sparse.search import lasso
from rec_sparse.search import pair_gates


@pytest.fixture(scope='module')
def rows():
  """Field 1 tells something alone, fields 2 and 3 do together; field 0 is noise."""
  rng = np.random.default_rng(0)
  code_FxE = [rng.integers(0, size, 12_000).astype(np.uint16) for size in (30, 6, 2, 2)]
  logit = 1.5 * np.sin(2.0 * code_FxE[1]) + 1.2 * (2.0 * (code_FxE[2] == code_FxE[3]) - 1)
  label_E = rng.random(12_000) < 1 / (1 + np.exp(-logit))
  return code_FxE, label_E[:, None].astype(np.uint8)


def test_lasso_lets_the_telling_field_in_first(rows):
  code_FxE, label_ExT = rows
  assert lasso.order(code_FxE, [30, 6, 2, 2], label_ExT)[0] == 1
  alone = lasso.order(code_FxE[:2], [30, 6], label_ExT)
  assert alone == [1, 0]


def test_gates_keep_what_interacts(rows):
  code_FxE, label_ExT = rows
  order = field_gates.order(code_FxE, [30, 6, 2, 2], label_ExT, seed=0)
  assert order[-1] == 0 and sorted(order) == [0, 1, 2, 3]


def test_pair_gates_keep_the_pair_that_interacts(rows):
  code_FxE, label_ExT = rows
  gate_P = pair_gates.gates(code_FxE, [30, 6, 2, 2], label_ExT, seed=0)
  assert gate_P.shape == (6,) and (gate_P == 0).any()
  assert pair_gates.largest(gate_P, 1) == [5]  # of fields 2 and 3
  assert pair_gates.largest(np.array([0.1, -0.5, 0.0, 0.2]), 2) == [1, 3]
  assert pair_gates.largest(np.array([0.1, -0.5, 0.0, 0.2]), 4) == [0, 1, 3]


def test_grda_is_a_soft_threshold_of_the_summed_gradient():
  total_P = np.array([-3.0, 0.0, 5.9, 100.0], np.float32)
  alpha_P = pair_gates.grda(np.full(4, 0.6, np.float32), total_P, np.float32(0.5))
  threshold = 0.7 * 0.5**0.8
  assert np.allclose(alpha_P, [0.9 - threshold, 0.6 - threshold, 0, -9.4 + threshold], atol=1e-5)


def test_heldout_loss_falls_by_what_tells_alone_or_with_its_partner(rows):
  code_FxE, label_ExT = rows
  sizes = [30, 6, 2, 2]

  def part(start, stop):
    codes = [code_E[start:stop] for code_E in code_FxE]
    return lambda: iter([heldout.Rows(codes, label_ExT[start:stop])])

  train, valid = part(0, 8000), part(8000, None)
  base_T = heldout.base(label_ExT[:8000].mean(0))
  stages = []
  losses = [heldout.logloss(valid, base_T, stages)]
  p = label_ExT[8000:].mean()
  assert losses[0] == pytest.approx(-p * np.log(p) - (1 - p) * np.log(1 - p), abs=1e-3)
  for field, partner in ((1, -1), (0, 1), (2, 1), (3, 2)):
    stages.append(heldout.grow(train, base_T, stages, field, partner, sizes))
    losses.append(heldout.logloss(valid, base_T, stages))
  assert losses[1] < losses[0] - 0.05
  assert losses[2] > losses[1]  # noise
  assert abs(losses[3] - losses[2]) < 2e-3 and losses[4] < losses[3] - 0.1
