"""Clusters of examples, and which entries of their embeddings each one's network reads (iHAS)."""

import numpy as np
from scipy.cluster import vq

SAMPLE = 20_000  # examples at most that k-means looks at


def centroids(masked_ExN: np.ndarray, clusters: int, seed: int) -> np.ndarray:
  """centroid_VxN of k-means from k-means++, V = `clusters` or fewer where some would be empty."""
  rng = np.random.default_rng(seed)
  masked_ExN = masked_ExN.astype(np.float64)
  centroid_VxN, cluster_E = vq.kmeans2(masked_ExN, clusters, iter=50, minit='++', rng=rng)
  return centroid_VxN[np.unique(cluster_E)]


def nearest(masked_ExN: np.ndarray, centroid_VxN: np.ndarray) -> np.ndarray:
  """cluster_E: whose centroid lies nearest."""
  return vq.vq(masked_ExN.astype(np.float64), centroid_VxN)[0].astype(np.uint8)


def keep(score_VxN: np.ndarray, share_V: np.ndarray, budget: float) -> np.ndarray:
  """kept_VxN = 1[score > theta], with the lowest theta within the budget.

  `share_V`: of examples, by cluster. An example keeps, in the mean, at most `budget` * N entries.
  """
  order = np.argsort(-score_VxN, axis=None, kind='stable')
  weight_VxN = np.broadcast_to(share_V[:, None], score_VxN.shape)
  used = np.cumsum(weight_VxN.ravel()[order])
  kept = np.zeros(score_VxN.size, bool)
  kept[order[used <= budget * score_VxN.shape[1] * (1 + 1e-9)]] = True
  return kept.reshape(score_VxN.shape)


def shuffled(kept_VxN: np.ndarray, seed: int) -> np.ndarray:
  """Masks at random that keep as many entries of each cluster."""
  return np.random.default_rng(seed).permuted(kept_VxN, axis=1)
