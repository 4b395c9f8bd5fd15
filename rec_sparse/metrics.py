"""Log loss, normalized entropy, calibration, AUC and GAUC: additive sums inside the step, exact
functions on the host.

In a compiled step: `zeros`, `update` (pure; jit, scan and vmap), `merge`; then `compute` once, on
the host, in float64.

Sums over 50 million examples: examples and labels are counts in the int32 histogram, exact up to
2^31 in a bin. Log loss and predictions are real numbers: a float32 running sum near 2e7 steps by 2,
so each step adds its own float32 partial sum in double-float arithmetic, a pair (sum, what rounding
lost) that is good for about 45 bits.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# AUC within 1e-6 of the exact one; 200 bins miss it by 1e-4 or more, which papers call a result
BINS = 65_536
LOGIT_RANGE = (
  16.0  # bins are uniform in the logit over [-16, 16); what lies outside counts in the end bins
)


class Sums(NamedTuple):
  """Additive sums of one evaluation; labels and weights are 0 or 1."""

  logloss_2xT: jax.Array  # float32: sum of log loss (nats), and what rounding lost
  prediction_2xT: jax.Array  # float32: sum of predicted probabilities, and what rounding lost
  counts_Tx2xZ: jax.Array  # int32: examples by task, label and logit bin


def zeros(tasks: int, bins: int = BINS) -> Sums:
  """Sums over no example; every array is a buffer of its own, so that all may be donated."""
  return Sums(jnp.zeros((2, tasks)), jnp.zeros((2, tasks)), jnp.zeros((tasks, 2, bins), jnp.int32))


def logloss_from_logits(logit: jax.Array, label: jax.Array) -> jax.Array:
  """Log loss of each example in nats, float32; finite and accurate at any finite logit."""
  logit = logit.astype(jnp.float32)
  return jax.nn.softplus(jnp.where(label > 0.5, -logit, logit))


def update(sums: Sums, logits_BxT: jax.Array, label_BxT: jax.Array, weight_B: jax.Array) -> Sums:
  """Adds one batch; rows of weight 0 (padding) count for nothing, whatever they hold."""
  logits_BxT = logits_BxT.astype(jnp.float32)
  real_Bx1 = weight_B[:, None] > 0
  ce_BxT = jnp.where(real_Bx1, logloss_from_logits(logits_BxT, label_BxT), 0.0)
  p_BxT = jnp.where(real_Bx1, jax.nn.sigmoid(logits_BxT), 0.0)
  return Sums(
    _add(sums.logloss_2xT, jnp.sum(ce_BxT, axis=0)),
    _add(sums.prediction_2xT, jnp.sum(p_BxT, axis=0)),
    _count(sums.counts_Tx2xZ, logits_BxT, label_BxT, real_Bx1),
  )


def merge(a: Sums, b: Sums) -> Sums:
  """Sums over the examples of both."""
  return Sums(
    _add(a.logloss_2xT, b.logloss_2xT[0], b.logloss_2xT[1]),
    _add(a.prediction_2xT, b.prediction_2xT[0], b.prediction_2xT[1]),
    a.counts_Tx2xZ + b.counts_Tx2xZ,
  )


def _add(pair_2xT: jax.Array, x_T: jax.Array, x_lost_T: jax.Array | float = 0.0) -> jax.Array:
  """Double-float addition: the rounding of each sum is exact (Knuth's two-sum), and kept."""
  total_T, lost_T = _two_sum(pair_2xT[0], x_T)
  return jnp.stack(_two_sum(total_T, lost_T + pair_2xT[1] + x_lost_T))


def _two_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The rounded sum, and exactly what the rounding lost."""
  total = a + b
  b_seen = total - a
  return total, (a - (total - b_seen)) + (b - b_seen)


def _count(
  counts_Tx2xZ: jax.Array, logits_BxT: jax.Array, label_BxT: jax.Array, real_Bx1: jax.Array
) -> jax.Array:
  """Scatter-adds a batch into the histogram; in a scan or with a donated argument XLA does it in
  place.
  """
  tasks, _, bins = counts_Tx2xZ.shape
  scaled_BxT = (logits_BxT + LOGIT_RANGE) * (bins / (2 * LOGIT_RANGE))
  bin_BxT = jnp.clip(scaled_BxT, 0, bins - 1).astype(jnp.int32)
  row_BxT = jnp.arange(tasks, dtype=jnp.int32)[None, :] * 2 + (label_BxT > 0.5).astype(jnp.int32)
  one_BxT = jnp.broadcast_to(real_Bx1, logits_BxT.shape).astype(jnp.int32)
  flat = (
    counts_Tx2xZ.reshape(-1).at[row_BxT * bins + bin_BxT].add(one_BxT, mode='promise_in_bounds')
  )
  return flat.reshape(counts_Tx2xZ.shape)


def compute(sums: Sums) -> tuple[dict[str, float | None], ...]:
  """One dict per task, in float64 on the host; a value that the labels leave undefined is None."""
  logloss_T = np.sum(np.asarray(sums.logloss_2xT, np.float64), axis=0)
  prediction_T = np.sum(np.asarray(sums.prediction_2xT, np.float64), axis=0)
  counts_Tx2xZ = np.asarray(sums.counts_Tx2xZ, np.int64)
  return tuple(
    _summary(float(ce), float(p), int(count_2xZ[1].sum()), int(count_2xZ.sum()))
    | {'auc': _binned_auc(count_2xZ)}
    for ce, p, count_2xZ in zip(logloss_T, prediction_T, counts_Tx2xZ, strict=True)
  )


def _summary(
  logloss: float, prediction: float, positives: int, examples: int
) -> dict[str, float | None]:
  """Means from sums.

  Normalized entropy is the log loss over that of the base rate (He et al. 2014), calibration is sum
  p / sum y.
  """
  rate = positives / examples if examples else 0.0
  entropy = -rate * np.log(rate) - (1 - rate) * np.log1p(-rate) if 0 < rate < 1 else 0.0
  return {
    'logloss': logloss / examples if examples else None,
    'normalized_entropy': float(logloss / examples / entropy) if entropy else None,
    'calibration': prediction / positives if positives else None,
    'examples': examples,
  }


def _binned_auc(count_2xZ: np.ndarray) -> float | None:
  """Probability that a positive outranks a negative, half credit within a bin; None with one class
  only.
  """
  negative_E, positive_E = count_2xZ
  pairs = int(positive_E.sum()) * int(negative_E.sum())
  twice_won = int(np.sum(positive_E * (2 * np.cumsum(negative_E) - negative_E)))
  return twice_won / (2 * pairs) if pairs else None


class Gauc(NamedTuple):
  """AUC within groups; groups with one class have none and are skipped,
  as are rows without a group.
  """

  impressions: float | None  # mean weighted by a group's examples
  users: float | None  # plain mean over groups
  skipped_examples: float  # share of examples in skipped groups, or in none
  skipped_groups: float  # share of groups skipped


def exact_auc(logit_E: np.ndarray, label_E: np.ndarray) -> float | None:
  """AUC by ranks, ties by midranks; None with one class only."""
  return gauc(np.zeros(len(logit_E), np.int32), logit_E, label_E).impressions


def gauc(group_E: np.ndarray, logit_E: np.ndarray, label_E: np.ndarray) -> Gauc:
  """AUC within each group and its means, by one sort; both meanings of GAUC in the literature,
  named apart.

  A row of a negative group has none.
  """
  if np.isnan(np.asarray(logit_E, np.float32)).any():
    raise ValueError('a logit is NaN: it has no rank, so AUC is undefined')
  grouped_E = np.asarray(group_E) >= 0
  if not grouped_E.any():
    return Gauc(None, None, float(len(grouped_E) > 0), 0.0)
  twice_won_G, positive_G, negative_G = _pairs_by_group(
    *(np.asarray(column_E)[grouped_E] for column_E in (group_E, logit_E, label_E))
  )
  size_G = positive_G + negative_G
  kept_G = (positive_G > 0) & (negative_G > 0)
  skipped = float(1 - size_G[kept_G].sum() / len(grouped_E)), float(1 - kept_G.mean())
  if not kept_G.any():
    return Gauc(None, None, *skipped)
  auc_G = twice_won_G[kept_G] / (2.0 * positive_G[kept_G] * negative_G[kept_G])
  return Gauc(float(np.average(auc_G, weights=size_G[kept_G])), float(auc_G.mean()), *skipped)


def _pairs_by_group(
  group_E: np.ndarray, logit_E: np.ndarray, label_E: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Twice the (positive, negative) pairs in order (a tie is half), positives and negatives, per
  group, as integers.
  """
  order_E = np.lexsort((logit_E, group_E))
  group_E, logit_E = group_E[order_E], logit_E[order_E]
  positive_E = (label_E[order_E] > 0.5).astype(np.int64)
  new_group_E = np.concatenate([[True], group_E[1:] != group_E[:-1]])
  # a block: tied in one group
  new_block_E = new_group_E | np.concatenate([[True], logit_E[1:] != logit_E[:-1]])
  (block_start,) = np.nonzero(new_block_E)
  positive_J = np.add.reduceat(positive_E, block_start)
  negative_J = np.add.reduceat(1 - positive_E, block_start)
  (group_start,) = np.nonzero(new_group_E[block_start])
  positive_G = np.add.reduceat(positive_J, group_start)
  negative_G = np.add.reduceat(negative_J, group_start)
  before_G = np.cumsum(negative_G) - negative_G
  blocks_G = np.diff(group_start, append=len(block_start))
  # lower negatives of the same group
  below_J = np.cumsum(negative_J) - negative_J - np.repeat(before_G, blocks_G)
  return (
    np.add.reduceat(positive_J * (2 * below_J + negative_J), group_start),
    positive_G,
    negative_G,
  )


def _exact_logloss(logit_E: np.ndarray, label_E: np.ndarray) -> np.ndarray:
  logit_E = np.asarray(logit_E, np.float64)
  return np.logaddexp(0.0, np.where(np.asarray(label_E) > 0.5, -logit_E, logit_E))


def logloss_standard_error(logit_E: np.ndarray, label_E: np.ndarray) -> float | None:
  """Standard error of the mean log loss over the examples of one run, sd / sqrt(n); None below two
  examples.

  Of (N, T) logits and labels, that of the mean over tasks.
  """
  if len(logit_E) < 2:
    return None
  loss_E = _exact_logloss(logit_E, label_E)
  if loss_E.ndim > 1:
    loss_E = loss_E.mean(1)
  return float(np.std(loss_E, ddof=1) / np.sqrt(len(loss_E)))


def report(
  logit_E: np.ndarray, label_E: np.ndarray, group_E: np.ndarray | None = None
) -> dict[str, float | None]:
  """Every metric of one task, exact, in float64; those of groups only when there are groups."""
  logit_E, label_E = np.asarray(logit_E, np.float32), np.asarray(label_E)
  ce_E = _exact_logloss(logit_E, label_E)
  prediction_E = np.exp(-np.logaddexp(0.0, -logit_E.astype(np.float64)))
  found = {'auc': exact_auc(logit_E, label_E)}
  found |= _summary(
    float(ce_E.sum()), float(prediction_E.sum()), int((label_E > 0.5).sum()), len(label_E)
  )
  found |= {'logloss_standard_error': logloss_standard_error(logit_E, label_E)}
  if group_E is None:
    return found
  return found | {
    f'gauc_{name}': value for name, value in gauc(group_E, logit_E, label_E)._asdict().items()
  }
