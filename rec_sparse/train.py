"""TrainState, init, train_step, eval_step: pure functions to jit, scan, or map over trials.

The embedding table is no parameter of the model. The loss is differentiated with respect to the gathered rows, and
only the rows that a step touched are updated, so a step's cost follows the batch, not the vocabulary.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from rec_sparse import config as config_lib
from rec_sparse import metrics
from rec_sparse import models
from rec_sparse import schema as schema_lib
from rec_sparse.embedding import duplicates
from rec_sparse.embedding import optimizers
from rec_sparse.sparsity import static_filter

Batch = dict[str, jax.Array]  # ids_BxF, label_BxT, and as the data has them value_BxN, group_B, weight_B


class TrainState(NamedTuple):
  """All that a run is, but for its config. Every leaf is an array, so a stack of states is a stack of trials."""

  step: jax.Array  # int32, steps done
  seed: jax.Array  # int32, of row order and dropout
  learning_rate: jax.Array  # float32; an array, so that a sweep does not recompile
  params: Any  # dense parameters
  statistics: Any  # running means and variances of the input normalization
  filters: Any  # constants: the static filters
  moments: Any  # optax state
  table_RxD: jax.Array  # the stacked embedding table
  slots: Any  # the table optimizer's state


class Program(NamedTuple):
  """The functions that a config stands for."""

  config: config_lib.Config
  module: nn.Module
  dense_optimizer: optax.GradientTransformation
  table_optimizer: optimizers.TableOptimizer
  numeric: int  # N: the last N fields are multiplied by value_BxN


def program(config: config_lib.Config, schema: schema_lib.FeatureSchema) -> Program:
  """Everything static of a run of `config` on data of `schema`."""
  kernels = lambda params: jax.tree.map_with_path(lambda path, _: path[-1].key == 'kernel', params)
  dense = optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(config.weight_decay, mask=kernels))
  table = {'adam': optimizers.row_adam, 'adagrad': optimizers.rowwise_adagrad, 'sgd': optimizers.row_sgd}
  return Program(
      config, models.MODELS[config.model].module(config, len(schema.tasks)), dense,
      table[config.table_optimizer](weight_decay=config.table_weight_decay,
                                    method=duplicates.default_method(jax.default_backend())), schema.numeric_count)


def init(config: config_lib.Config, schema: schema_lib.FeatureSchema, seeds: Sequence[int],
         learning_rates: Sequence[float]) -> TrainState:
  """The states of len(seeds) trials, stacked on a leading axis; trial i has seeds[i] and learning_rates[i].

  The table depends on the seed alone, so every arm of a comparison starts from the same rows.
  Raises ValueError if a view would keep more dimensions than the input has.
  """
  one = lambda *trial: _init_one(program(config, schema), schema, *trial)
  return jax.jit(jax.vmap(one))(jnp.asarray(seeds, jnp.int32), jnp.asarray(learning_rates, jnp.float32),
                                draw_filters(config, schema, seeds))


def draw_filters(config: config_lib.Config, schema: schema_lib.FeatureSchema, seeds: Sequence[int]) -> Any:
  """The filters of len(seeds) trials, stacked; {} for models that have none."""
  inputs = len(schema.fields) * config.embedding_dim
  drawn = [models.MODELS[config.model].filters(config, inputs, seed) for seed in seeds]
  return {name: static_filter.stack([filters[name] for filters in drawn]) for name in drawn[0]}


def _init_one(run: Program, schema: schema_lib.FeatureSchema, seed: jax.Array, learning_rate: jax.Array,
              filters: Any) -> TrainState:
  table_key, dense_key = jax.random.split(jax.random.key(seed))
  scale, dim = run.config.embedding_init, run.config.embedding_dim
  table_RxD = jax.random.uniform(table_key, (schema.table_rows, dim), minval=-scale, maxval=scale)
  rows_BxFxD = jnp.zeros((1, len(schema.fields), dim))
  _, made = run.module.apply({'filters': filters}, rows_BxFxD, train=False, rngs={'params': dense_key},
                             mutable=['params', 'batch_stats'])
  params = made['params']
  return TrainState(jnp.int32(0), seed, learning_rate, params, made.get('batch_stats', {}), filters,
                    run.dense_optimizer.init(params), table_RxD, run.table_optimizer.init(table_RxD))


def train_step(run: Program, state: TrainState, batch: Batch) -> tuple[TrainState, jax.Array]:
  """One step on one batch -> (state, mean training loss in nats per example, summed over tasks)."""
  dropout_key = jax.random.fold_in(jax.random.key(state.seed), state.step)

  def loss_fn(params: Any, rows_BxFxD: jax.Array) -> tuple[jax.Array, Any]:
    logits_BxT, changed = run.module.apply(
        {'params': params, 'batch_stats': state.statistics, 'filters': state.filters},
        _scale(run, rows_BxFxD, batch), train=True, rngs={'dropout': dropout_key}, mutable=['batch_stats'])
    losses_BxT = optax.sigmoid_binary_cross_entropy(logits_BxT, batch['label_BxT'])
    return jnp.mean(jnp.sum(losses_BxT, 1)), changed.get('batch_stats', {})

  ids_BxF = batch['ids_BxF']
  grad_fn = jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)
  (loss, statistics), (grads, row_grads_BxFxD) = grad_fn(state.params, state.table_RxD[ids_BxF])
  with jax.numpy_dtype_promotion('standard'):  # optax raises a float to the power of an int32 count
    updates, moments = run.dense_optimizer.update(grads, state.moments, state.params)
  params = jax.tree.map(lambda p, u: p - state.learning_rate * u, state.params, updates)
  table_RxD, slots = run.table_optimizer.update(
      state.table_RxD, state.slots, ids_BxF.reshape(-1), row_grads_BxFxD.reshape(-1, run.config.embedding_dim),
      state.learning_rate * run.config.table_learning_rate_ratio)
  return state._replace(step=state.step + 1, params=params, statistics=statistics, moments=moments,
                        table_RxD=table_RxD, slots=slots), loss


def eval_step(run: Program, state: TrainState, sums: metrics.Sums, batch: Batch) -> tuple[metrics.Sums, jax.Array]:
  """Adds one batch to the metric sums; also returns logits_BxT. The state must stay alive: do not donate it."""
  logits_BxT = run.module.apply(
      {'params': state.params, 'batch_stats': state.statistics, 'filters': state.filters},
      _scale(run, state.table_RxD[batch['ids_BxF']], batch), train=False)
  return metrics.update(sums, logits_BxT, batch['label_BxT'], batch['weight_B']), logits_BxT


def counts(config: config_lib.Config, schema: schema_lib.FeatureSchema) -> dict[str, int]:
  """Analytic sizes of a trial record: dense parameters, those that are not structurally zero, table, FLOPs.

  The shared input normalization is in no count. Structural sparsity stores kept connections only.
  """
  cost = models.MODELS[config.model].cost(config, len(schema.fields) * config.embedding_dim, len(schema.tasks))
  return {'dense_params': cost.params, 'dense_params_nonzero': cost.params,
          'embedding_params': schema.table_rows * config.embedding_dim, 'flops_per_example': cost.flops}


def unstack(states: TrainState, trial: int) -> TrainState:
  """The state of one trial of a stack."""
  return jax.tree.map(lambda leaf: leaf[trial], states)


def _scale(run: Program, rows_BxFxD: jax.Array, batch: Batch) -> jax.Array:
  """Numeric fields are value times embedding; categorical rows stay as they are."""
  if not run.numeric:
    return rows_BxFxD
  value_BxF = jnp.pad(batch['value_BxN'], ((0, 0), (rows_BxFxD.shape[1] - run.numeric, 0)), constant_values=1.0)
  return rows_BxFxD * value_BxF[..., None]
