"""Joins a data set with rec_sparse/search/clusters.py: the first two stages of iHAS.

Searching (arXiv 2309.07967) trains a network with gates, models/gated_mlp.py, on training rows.
Clusters are those of k-means on its masked embeddings; an entry's score in a cluster is its mean
gate over the cluster's training rows. Of the validation and test rows the ids alone are read, to
say of which cluster they are.
"""

from collections.abc import Callable, Iterator
import dataclasses
import pathlib
from typing import NamedTuple

import jax
import numpy as np

from data_pipelines import blocks
from data_pipelines import order
from rec_sparse import config as config_lib
from rec_sparse import plan as plan_lib
from rec_sparse import schema as schema_lib
from rec_sparse import train
from rec_sparse.runs import activations
from rec_sparse.runs import dim_search
from rec_sparse.runs import feeds
from rec_sparse.search import clusters as clusters_lib

MODEL = 'gated_mlp'  # what is searched
ROUTED = 'routed_mlp'  # what is trained on what a plan leaves
MASKS = ('ihas', 'random', 'all')
_CHUNK = 4096  # examples looked at in one step

Look = Callable[[blocks.Batch], tuple[np.ndarray, np.ndarray]]  # -> gates_ExN, masked_ExN


@dataclasses.dataclass(frozen=True)
class Job:
  """What to search, and how."""

  data: pathlib.Path  # dataset directory
  config: config_lib.Config  # the network with gates
  clusters: int = 4  # V: of k-means


class Gates(NamedTuple):
  """What was searched, of which clusters are made."""

  schema: schema_lib.FeatureSchema
  splits: dict[str, blocks.OpenSplit]
  look: Look  # with the trained network


class Found(NamedTuple):
  """Clusters, and how much their examples want each entry."""

  schema: schema_lib.FeatureSchema
  score_VxN: np.ndarray  # mean gate over the training rows of a cluster
  share_V: np.ndarray  # of the training rows
  centroid_VxN: np.ndarray  # of masked embeddings
  cluster_E: dict[str, np.ndarray]  # split -> cluster of each row


def search(job: Job) -> Found:
  """Trains the gates, makes clusters and scores entries; raises ValueError as `gates` does."""
  return cluster(job, gates(job))


def gates(job: Job) -> Gates:
  """Trains the network with gates; the number of clusters does not matter yet.

  Raises ValueError where the data have dimensions or clusters of a plan already, and when the loss
  is not finite.
  """
  schema = schema_lib.load_schema(job.data, needs=('train',))
  if schema.dim_runs or schema.clusters:
    raise ValueError(f'{job.data}: a plan has chosen among its dimensions already')
  splits = {name: blocks.open_split(job.data, schema, name) for name in schema.splits}
  return Gates(schema, splits, _trained(job, schema, splits['train']))


def cluster(job: Job, searched: Gates) -> Found:
  """Clusters of all rows, those of validation and test by the centroids of training rows."""
  look = searched.look
  centroid_VxN = _centroids(job, look, searched.splits['train'])
  totals_VxN = np.zeros(centroid_VxN.shape)
  cluster_E = {}
  for name, split in searched.splits.items():
    found = []
    for chunk in _chunks(split):
      gates_ExN, masked_ExN = look(chunk)
      found.append(clusters_lib.nearest(masked_ExN, centroid_VxN))
      if name == 'train':
        np.add.at(totals_VxN, found[-1], gates_ExN)
    cluster_E[name] = np.concatenate(found)

  rows_V = np.bincount(cluster_E['train'], minlength=len(centroid_VxN))
  score_VxN = totals_VxN / np.maximum(rows_V, 1)[:, None]
  return Found(searched.schema, score_VxN, rows_V / rows_V.sum(), centroid_VxN, cluster_E)


def plan(job: Job, found: Found, budget: float, masks: str = 'ihas') -> plan_lib.Plan:
  """The plan that keeps this share of an example's entries in the mean, or a little less.

  `masks`: those of the search; as many entries of each cluster at random; all, whatever the budget.
  Raises ValueError when the budget is not in (0, 1], or leaves a network nothing to read.
  """
  if not 0 < budget <= 1:
    raise ValueError(f'--budgets: {budget:g} is not above 0 and at most 1')
  kept_VxN = clusters_lib.keep(found.score_VxN, found.share_V, 1 if masks == 'all' else budget)
  if masks == 'random':
    kept_VxN = clusters_lib.shuffled(kept_VxN, job.config.seed)
  arrays = plan_lib.keep_clusters(found.schema, kept_VxN, found.cluster_E)
  arrays |= {name: getattr(found, name) for name in ('score_VxN', 'share_V', 'centroid_VxN')}
  made_by = {
    'search': 'clusters',
    'masks': masks,
    'budget': budget,
    'clusters': job.clusters,
    'config': config_lib.to_raw(job.config),
    'fields': [field.name for field in found.schema.fields],
  }
  return plan_lib.Plan(made_by, found.schema.fingerprint, arrays)


def _trained(job: Job, schema: schema_lib.FeatureSchema, split: blocks.OpenSplit) -> Look:
  """What the network with gates, once trained, makes of examples."""
  run = train.program(job.config, schema)
  state = train.init(run, schema)
  advance = feeds.resident_feed(run, feeds.on_devices(run, split)).advance
  steps = job.config.epochs * order.steps_per_epoch(split.rows, job.config.batch_size)
  for some in dim_search.dispatches(steps):
    state, sums = advance(state, some)
    dim_search.check_finite(sums, 'search')
  state = train.without_optimizer(state)

  @jax.jit
  def look(state: train.TrainState, batch: train.Batch) -> tuple[jax.Array, jax.Array]:
    rows = activations.looked_up(run, state.table, batch)
    _, sown = run.module.apply(train.variables(state), rows, train=False, mutable=['intermediates'])
    found = sown['intermediates']
    return found['gates'][0].T, found['masked'][0].T

  return lambda batch: jax.device_get(look(state, batch))


def _centroids(job: Job, look: Look, split: blocks.OpenSplit) -> np.ndarray:
  """centroid_VxN of training rows, a sample where they are many."""
  rng = np.random.default_rng(job.config.seed)
  rows_E = np.sort(rng.permutation(split.rows)[: clusters_lib.SAMPLE])
  masked = []
  for start in range(0, len(rows_E), _CHUNK):
    masked.append(look(blocks.take(split, rows_E[start : start + _CHUNK]))[1])
  return clusters_lib.centroids(np.concatenate(masked), job.clusters, job.config.seed)


def _chunks(split: blocks.OpenSplit) -> Iterator[blocks.Batch]:
  """The rows in file order."""
  for start in range(0, split.rows, _CHUNK):
    yield blocks.take(split, np.arange(start, min(start + _CHUNK, split.rows)))
