"""iHAS, retraining (arXiv 2309.07967): an MLP for each cluster of examples, its input masked.

    logit(x) = MLP_c(kept_c * x),   c the cluster of the example

Clusters and masks are those of the data set, which a plan of `launch.clusters` made. An example is
put through all V networks and keeps the logits of its own: V times the work of one, at static
shapes. Data without clusters are one cluster that keeps all: this is then the dense MLP.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rec_sparse import flops
from rec_sparse.config import Config
from rec_sparse.models import layers
from rec_sparse.models import parts
from rec_sparse.models.architecture import Architecture
from rec_sparse.models.architecture import CLUSTER
from rec_sparse.models.architecture import Inputs
from rec_sparse.models.architecture import Rows


class RoutedMLP(nn.Module):
  """V networks of `depth` hidden layers of `width` ReLU units; the normalization of the input is
  shared.
  """

  config: Config
  inputs: Inputs

  @nn.compact
  def __call__(self, rows: Rows, weight_B: jax.Array | None = None, *, train: bool) -> jax.Array:
    cfg = self.config
    kept_VxN = jnp.asarray(_kept(self.inputs))
    rows_BxFxD = rows['embedding']
    if self.inputs.clusters:
      rows_BxFxD = rows_BxFxD[:, 1:]  # the first field is the cluster
    x_NxB = layers.Input(cfg, name='input')(rows_BxFxD, weight_B, train=train)
    y_VxHxB = kept_VxN[..., None].astype(x_NxB.dtype) * x_NxB[None]

    for i in range(cfg.depth):
      y_VxHxB = nn.relu(parts.LinearPerView(cfg.width, name=f'layer_{i}')(y_VxHxB))
      y_VxHxB = layers.Dropout(cfg.dropout, cfg.batch_size, name=f'dropout_{i}')(
        y_VxHxB, train=train
      )
    y_VxHxB = y_VxHxB.astype(jnp.float32)
    for i, features in enumerate(cfg.head_hidden):
      y_VxHxB = nn.relu(parts.LinearPerView(features, name=f'head_{i}')(y_VxHxB))
    logit_VxTxB = parts.LinearPerView(self.inputs.tasks, name='head')(y_VxHxB)
    return of_cluster(logit_VxTxB, rows.get(CLUSTER))


def of_cluster(logit_VxTxB: jax.Array, cluster_B: jax.Array | None) -> jax.Array:
  """logits_BxT of the network of each example's cluster; of the first where none are given, as at
  initialization.
  """
  if cluster_B is None:
    return logit_VxTxB[0].T
  views_V = jnp.arange(len(logit_VxTxB), dtype=cluster_B.dtype)
  own_VxB = views_V[:, None] == cluster_B[None]
  return jnp.sum(jnp.where(own_VxB[:, None], logit_VxTxB, 0), 0).T


def check(config: Config) -> None:
  """Raises ValueError with `hidden_norm`, whose statistics would be those of other clusters too."""
  if config.hidden_norm != 'none':
    raise ValueError(
      f'hidden_norm={config.hidden_norm}: routed_mlp would normalize over examples of other '
      'clusters; expected none'
    )


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """All V networks, masked products included; idle are the weights that read what a mask drops."""
  kept_VxN = _kept(inputs)
  dropped = int((~kept_VxN).sum())
  each = layers.mlp_cost(kept_VxN.shape[1], cfg, inputs.tasks)
  first = (*(cfg.width,) * cfg.depth, *cfg.head_hidden, inputs.tasks)[0]
  return len(kept_VxN) * each + flops.Cost(0, 0, idle=dropped * first)


def _kept(inputs: Inputs) -> np.ndarray:
  """kept_VxN: whether the network of a cluster reads an entry."""
  if not inputs.clusters:
    return np.ones((1, inputs.size), bool)
  return np.array([[kept == '1' for kept in cluster] for cluster in inputs.clusters])


ARCHITECTURE = Architecture(RoutedMLP, cost, check=check)
