"""Joins a data set with rec_sparse/search/dims.py: which dimensions its embeddings are worth.

DNIS (arXiv 2006.04466): after a warm start, a selection alpha_ZxD in [0, 1] multiplies embeddings.
Steps alternate: parameters move on a training batch, the selection on a validation batch, first
order. What is kept follows from alpha times the size of what it multiplies. The test split is read
by nothing here.
"""

from collections.abc import Sequence
import dataclasses
import functools
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines import blocks
from data_pipelines import order
from data_pipelines import resident
from rec_sparse import config as config_lib
from rec_sparse import plan as plan_lib
from rec_sparse import schema as schema_lib
from rec_sparse import train
from rec_sparse.embedding import kept_dims
from rec_sparse.embedding import storage
from rec_sparse.embedding import table as table_lib
from rec_sparse.runs import feeds
from rec_sparse.search import dims

TRAINED = ('dnis', 'magnitude')  # magnitude: the size of embeddings alone, no selection
WAYS = (*TRAINED, 'frequency', 'random')
_NOISE = 2**31 - 2  # what dropout on validation batches is folded by


@dataclasses.dataclass(frozen=True)
class Job:
  """What to search, and how."""

  data: pathlib.Path  # dataset directory
  config: config_lib.Config  # the network; its epochs are those of the warm start
  by: str = 'dnis'  # one of WAYS
  search_epochs: int = 2  # epochs of training rows while the selection moves
  shares: tuple[float, ...] = dims.SHARES  # of a field's values, in its bins


class Found(NamedTuple):
  """Scores of the dimensions of each bin."""

  schema: schema_lib.FeatureSchema
  bins: dims.Bins
  score_ZxD: np.ndarray
  alpha_ZxD: np.ndarray | None  # the selection, of dnis


def search(job: Job) -> Found:
  """Scores all dimensions; raises ValueError where the data or the shares do not allow it, and when
  the loss is not finite.
  """
  schema = schema_lib.load_schema(job.data, needs=('train', 'valid'))
  if schema.dim_runs:
    raise ValueError(f'{job.data}: a plan has chosen among its dimensions already')
  if min(job.shares) <= 0 or abs(sum(job.shares) - 1) > 1e-6:
    raise ValueError(f'--bins={",".join(map(str, job.shares))}: expected shares that add up to 1')
  if job.config.table_sparsity != 'none':
    raise ValueError(
      f'table_sparsity={job.config.table_sparsity}: a search for dimensions is of a table without '
      'masks; expected none'
    )
  split = blocks.open_split(job.data, schema, 'train')
  sizes = [field.vocab_size for field in schema.fields]
  count_R = _counts(split, schema.table_rows)
  found = dims.bins(sizes, count_R, job.shares)
  dim = job.config.embedding_dim
  if job.by == 'frequency':
    return Found(schema, found, dims.by_frequency(found, dim), None)
  if job.by == 'random':
    rng = np.random.default_rng(job.config.seed)
    return Found(schema, found, rng.random((len(found.rows_Z), dim)), None)
  rows_RxD, alpha_ZxD = _trained(job, schema, split, found)
  size_ZxD = dims.sizes_of(rows_RxD, found)
  return Found(schema, found, alpha_ZxD * size_ZxD, alpha_ZxD if job.by == 'dnis' else None)


def plan(job: Job, found: Found, budget: float) -> plan_lib.Plan:
  """The plan that keeps this share of all entries of embeddings, or a little less.

  Raises ValueError when the budget is not in (0, 1], or keeps nothing.
  """
  if not 0 < budget <= 1:
    raise ValueError(f'--budgets: {budget:g} is not above 0 and at most 1')
  kept_ZxD = dims.keep(found.score_ZxD, found.bins.rows_Z, budget)
  arrays = plan_lib.keep_dims(found.schema, found.bins.bin_R, kept_ZxD)
  arrays |= found.bins._asdict() | {'score_ZxD': found.score_ZxD}
  if found.alpha_ZxD is not None:
    arrays['alpha_ZxD'] = found.alpha_ZxD
  made_by = {
    'search': 'dims',
    'by': job.by,
    'budget': budget,
    'search_epochs': job.search_epochs,
    'shares': list(job.shares),
    'config': config_lib.to_raw(job.config),
    'fields': [field.name for field in found.schema.fields],
  }
  return plan_lib.Plan(made_by, found.schema.fingerprint, arrays)


def _counts(split: blocks.OpenSplit, rows: int) -> np.ndarray:
  """count_R: how often training rows read each table row."""
  count_R = np.zeros(rows, np.int64)
  for records in split.blocks:
    count_R += np.bincount(records['ids'].reshape(-1), minlength=rows)
  return count_R


def _trained(
  job: Job, schema: schema_lib.FeatureSchema, split: blocks.OpenSplit, found: dims.Bins
) -> tuple[np.ndarray, np.ndarray]:
  """(embeddings rows_RxD, alpha_ZxD) after the warm start and, of dnis, the search; else alpha is 1
  and training goes on as long.
  """
  epochs = job.config.epochs + job.search_epochs
  run = train.program(dataclasses.replace(job.config, epochs=epochs), schema)
  rows = feeds.on_devices(run, split)
  heldout = feeds.on_devices(run, blocks.open_split(job.data, schema, 'valid'))
  per_epoch = order.steps_per_epoch(split.rows, job.config.batch_size)

  state = train.init(run, schema)
  alpha_ZxD = jnp.ones((len(found.rows_Z), job.config.embedding_dim))
  warm_steps = job.config.epochs * per_epoch
  advance = feeds.resident_feed(run, rows).advance
  for steps in dispatches(warm_steps if job.by == 'dnis' else epochs * per_epoch):
    state, sums = advance(state, steps)
    check_finite(sums, 'warm start')
  if job.by == 'dnis':
    selection = kept_dims.of_bins(found.bin_R, None)
    search = jax.jit(functools.partial(_alternate, run, selection), donate_argnums=(0, 1))
    for steps in dispatches(job.search_epochs * per_epoch):
      state, sums, alpha_ZxD = search(state, alpha_ZxD, rows, heldout, np.int32(steps))
      check_finite(sums, 'search')
  return _embeddings(run, state)[: schema.table_rows], np.asarray(alpha_ZxD)


def _embeddings(run: train.Program, state: train.TrainState) -> np.ndarray:
  """Embeddings of all rows, float32."""
  table = table_lib.settled(table_lib.to_logical(run.table, state.table))
  rows_RxD = storage.decode(table.rows_RxD)
  return np.asarray(table_lib.by_purpose(run.table, rows_RxD)[kept_dims.PURPOSE], np.float32)


def dispatches(steps: int) -> Sequence[int]:
  """Steps of each dispatch."""
  whole, rest = divmod(steps, feeds.DISPATCH)
  return [feeds.DISPATCH] * whole + ([rest] if rest else [])


def check_finite(sums: train.StepSums, phase: str) -> None:
  """Raises ValueError naming the phase when the loss is not finite."""
  if not np.isfinite(sums.loss):
    raise ValueError(f'the loss became NaN or infinite in the {phase}; try a lower learning_rate')


def _alternate(
  run: train.Program,
  selection: kept_dims.Selection,
  state: train.TrainState,
  alpha_ZxD: jax.Array,
  rows: resident.Data,
  heldout: resident.Data,
  steps: jax.Array,
) -> tuple[train.TrainState, train.StepSums, jax.Array]:
  """Steps of both kinds: of the parameters on training rows, then of alpha on `heldout` rows."""
  config = run.config

  def batch_of(data: resident.Data, step: jax.Array) -> train.Batch:
    size = min(config.batch_size, data['ids_BxF'].shape[0])
    return resident.batch_at(
      data, step, batch_size=size, seed=state.trial['seed'], shuffle=config.shuffle
    )

  def body(_: Any, carry: tuple) -> tuple:
    state, sums, alpha_ZxD = carry
    batch = batch_of(heldout, state.step)
    soft = run._replace(dims=selection._replace(factor_ZxD=alpha_ZxD))
    state, sums = train.train_step(soft, state, sums, batch_of(rows, state.step))
    slope_ZxD = jax.grad(functools.partial(_loss, run, selection, state, batch))(alpha_ZxD)
    return state, sums, dims.moved(alpha_ZxD, slope_ZxD)

  return jax.lax.fori_loop(0, steps, body, (state, train.zero_sums(run.terms), alpha_ZxD))


def _loss(
  run: train.Program,
  selection: kept_dims.Selection,
  state: train.TrainState,
  batch: train.Batch,
  alpha_ZxD: jax.Array,
) -> jax.Array:
  """Of a batch under the selection, normalized and dropped out as in training."""
  ids_BxF = batch['ids_BxF']
  rows = table_lib.lookup(run.table, state.table, ids_BxF).rows
  rows = kept_dims.times(selection._replace(factor_ZxD=alpha_ZxD), rows, ids_BxF)
  noise = jax.random.fold_in(jax.random.key(state.trial['seed']), state.step)
  logits_BxT, _ = run.module.apply(
    train.variables(state),
    train.scaled_by_values(run, rows, batch),
    batch['weight_B'],
    train=True,
    rngs={'dropout': jax.random.fold_in(noise, _NOISE)},
    mutable=(*train.MOVING, 'losses', 'logits'),
  )
  return run.objective.loss(logits_BxT, batch)
