"""A restored network without some of its weights: which ones, as it stands, and trained again."""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines import blocks
from data_pipelines import order
from data_pipelines import stream
from rec_sparse import schema as schema_lib
from rec_sparse import train
from rec_sparse.embedding import table as table_lib
from rec_sparse.runs import activations
from rec_sparse.runs import feeds
from rec_sparse.runs import kernels
from rec_sparse.runs import restored
from rec_sparse.sparsity import masks as masks_lib
from rec_sparse.sparsity import rules
from rec_sparse.sparsity import schedule as schedule_lib

SCORED = 8  # training batches that gradients are taken on
WARM_UP = 0.1  # share of the steps of a retraining in which its rates rise


class Subject(NamedTuple):
  """A restored network on its data."""

  run: restored.Restored
  schema: schema_lib.FeatureSchema
  program: train.Program
  state: train.TrainState
  split: blocks.OpenSplit  # of training


# Masks -> the network after a retraining under them.
Retrain = Callable[[masks_lib.Masks], train.TrainState]


def open_subject(run: restored.Restored, what: str) -> Subject:
  """Raises Unavailable, naming the analysis, where the data set is not there, and where the table
  has masks, which a retraining would not keep.
  """
  if run.config.table_sparsity != 'none':
    raise restored.Unavailable(
      f'{what}: is not made for tables with masks (table_sparsity={run.config.table_sparsity})'
    )
  schema = activations.open_data(run, what, *schema_lib.SPLITS)
  program = train.program(run.config, schema)
  split = blocks.open_split(run.data, schema, 'train')
  return Subject(run, schema, program, restored.state(run, program), split)


def scores_by_size(subject: Subject) -> Any:
  """|w| of every weight; trees of scores have None beside what is no kernel, -inf at what is no
  weight: what a filter or a mask leaves out.
  """
  return _of_weights(subject, jax.tree.map(jnp.abs, subject.state.params))


def scores_by_gradient(subject: Subject) -> Any:
  """|w g| of every weight, g the gradient of the loss of a batch; mean over SCORED of training.

  How much the loss moves when the weight is left out, to first order, without dropout (a mean over
  batches of what SNIP takes of one, arXiv 1810.02340).
  """
  config, program = subject.run.config, subject.program

  def score(state: train.TrainState, batch: train.Batch) -> Any:
    rows = activations.looked_up(program, state.table, batch)

    def loss(params: Any) -> jax.Array:
      variables = train.variables(state._replace(params=params))
      return program.objective.loss(program.module.apply(variables, rows, train=False), batch)

    return jax.tree.map(lambda w, g: jnp.abs(w * g), state.params, jax.grad(loss)(state.params))

  batches = stream.TrainBatches(
    subject.split,
    config.batch_size,
    config.seed,
    config.shuffle,
    SCORED,
    (0, config.batch_size),
    config.batch_size,
  )
  score = jax.jit(score)
  found = [jax.device_get(score(subject.state, batches[i])) for i in range(SCORED)]
  return _of_weights(subject, jax.tree.map(lambda *of_batches: np.mean(of_batches, 0), *found))


def _of_weights(subject: Subject, sizes: Any) -> Any:
  """`sizes` as scores."""
  marks = kernels.marks(subject.run)
  acting = kernels.acting(subject.run, subject.state.moving)

  def score(path: Any, size: jax.Array, mark: Any) -> jax.Array | None:
    if not mark.decays:
      return None
    rows = acting.get(kernels.name_of(path))
    return size if rows is None else jnp.where(rows[..., None], size, -jnp.inf)

  scores = jax.tree.map_with_path(score, sizes, marks)
  if subject.state.sparse is None:
    return scores
  return masks_lib.over(
    lambda mask, score: jnp.where(mask, score, -jnp.inf), subject.state.sparse.masks, scores
  )


def weights(scores: Any) -> int:
  """How many scores are those of weights."""
  return sum(int(jnp.sum(score > -jnp.inf)) for score in jax.tree.leaves(scores))


def keep_largest(subject: Subject, scores: Any, density: float) -> masks_lib.Masks:
  """Masks of the round(density x weights) largest scores, one ranking over all kernels."""
  count = round(density * weights(scores))
  return masks_lib.largest_of_all(scores, count, jax.random.key(subject.run.config.seed))


def kept_shares(scores: Any, masks: masks_lib.Masks) -> dict[str, float]:
  """Kernel -> share of its weights that the masks keep."""
  shares = masks_lib.over(
    lambda mask, score: float(jnp.sum(mask) / jnp.sum(score > -jnp.inf)), masks, scores
  )
  return {kernels.name_of(path): share for path, share in jax.tree.leaves_with_path(shares)}


def pruned(subject: Subject, masks: masks_lib.Masks) -> train.TrainState:
  """The network as it stands, without what the masks leave out."""
  params = masks_lib.apply(masks, subject.state.params)
  return train.without_optimizer(subject.state._replace(params=params))


@contextlib.contextmanager
def retraining(subject: Subject, steps: int) -> Iterator[Retrain]:
  """Prunes a network and trains it for `steps` steps under masks that stay.

  Network and table go on from where they are, the optimizer is new; the rates are those of the run,
  rise in WARM_UP of the steps and fall along half a cosine. Batches are those of the run from its
  first one on. Raises ValueError where the loss is not finite.
  """
  program = _program(subject, steps)
  fresh = train.init(program, subject.schema)
  with contextlib.closing(feeds.open_feed(program, subject.split)) as feed:
    start = feed.position()

    def retrain(masks: masks_lib.Masks) -> train.TrainState:
      network = pruned(subject, masks)
      state = fresh._replace(
        params=network.params,
        moving=network.moving,
        constants=network.constants,
        table=table_lib.with_rows_of(fresh.table, network.table),
        sparse=rules.Sparse(masks, None),
      )
      state = jax.tree.map(jnp.copy, state)  # a step uses its state up
      feed.seek(start)
      for first in range(0, steps, feeds.DISPATCH):
        state, sums = feed.advance(state, min(feeds.DISPATCH, steps - first))
        if not np.isfinite(sums.loss):
          raise ValueError('density: the loss became NaN or infinite while a network was retrained')
      return train.without_optimizer(state)

    yield retrain


def _program(subject: Subject, steps: int) -> train.Program:
  """The run's own, but for its schedule, and for masks that a state brings along."""
  config = subject.run.config
  epoch = order.steps_per_epoch(subject.split.rows, config.batch_size)
  config = dataclasses.replace(
    config,
    schedule='warmup_cosine',
    warmup_steps=round(WARM_UP * steps),
    epochs=-(-steps // epoch),
    sparsity='none',
    density=1.0,
  )
  program = train.program(config, subject.schema)
  never = schedule_lib.Schedule(first=0, every=1, end=1, share=0.0)
  sparsifier = rules.Sparsifier(rules.RULES['static'], None, never, 0)
  return program._replace(last=steps, sparsifier=sparsifier)
