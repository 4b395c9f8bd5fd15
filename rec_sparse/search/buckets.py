"""Values of a field -> buckets, few enough for pairs of fields to be counted.

Hashing is not free: a field that is a function of another one still tells something given the
buckets of that one. Where memory allows, give the largest fields a bucket for each value.
"""

import numpy as np

MOST = 1024  # buckets of a field, unless more are asked for
NUMBERS = 64  # buckets of a column whose values multiply an embedding, missing ones apart
_MULTIPLIER = 2654435761  # of Knuth's multiplicative hash: odd, near 2**32 / golden ratio


def of_counts(count_W: np.ndarray, most: int = MOST) -> np.ndarray:
  """bucket_W (uint16) of values that `count_W` rows have; value 0, unknown, is bucket 0.

  A field of at most `most` values keeps all of them apart. Of a larger one the most frequent values
  have half of the buckets, one each; the others are hashed into the other half.
  """
  values = len(count_W)
  if values <= most:
    return np.arange(values, dtype=np.uint16)
  own = most // 2
  hashed_W = np.arange(values, dtype=np.uint64) * np.uint64(_MULTIPLIER) >> np.uint64(16)
  bucket_W = (own + hashed_W % np.uint64(most - own)).astype(np.uint16)
  frequent = 1 + np.argsort(-count_W[1:], kind='stable')[: own - 1]
  bucket_W[frequent] = 1 + np.arange(own - 1)
  bucket_W[0] = 0
  return bucket_W


def merged(counts_WxY: np.ndarray, bucket_W: np.ndarray) -> np.ndarray:
  """Counts of values by label as counts of their buckets."""
  counts = np.zeros((int(bucket_W.max()) + 1, counts_WxY.shape[1]), np.int64)
  np.add.at(counts, bucket_W, counts_WxY)
  return counts


def edges(number_B: np.ndarray) -> np.ndarray:
  """Rising inner edges of about NUMBERS buckets of equally many of these numbers."""
  return np.unique(np.quantile(number_B, np.arange(1, NUMBERS) / NUMBERS))
