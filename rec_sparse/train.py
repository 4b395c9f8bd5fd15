"""TrainState, init, train_step, eval_step: pure functions to jit, scan, or map over trials.

The embedding table is no parameter of the model. The loss is differentiated with respect to the
gathered rows, and only the rows that a step touched are updated, so a step's cost follows the
batch, not the vocabulary.
"""

from collections.abc import Mapping, Sequence
import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rec_sparse import config as config_lib
from rec_sparse import dense_placement
from rec_sparse import models
from rec_sparse import objective as objective_lib
from rec_sparse import optimizer
from rec_sparse import schema as schema_lib
from rec_sparse.embedding import duplicates
from rec_sparse.embedding import kept_dims
from rec_sparse.embedding import optimizers
from rec_sparse.embedding import placement
from rec_sparse.embedding import table as table_lib
from rec_sparse.embedding import unknown
from rec_sparse.models import architecture
from rec_sparse.models import marks as marks_lib
from rec_sparse.sparsity import masks as masks_lib
from rec_sparse.sparsity import rules
from rec_sparse.sparsity import schedule
from rec_sparse.sparsity import static_filter
from rec_sparse.sparsity import table_masks

# Collections of a module that training moves without a gradient: averages of normalizations, masks
# of learned filters.
MOVING = ('batch_stats', 'masks')
MASKS = 2**31 - 1  # what the noise of masks is folded by, to differ from that of dropout

# ids_BxF, label_BxT, weight_B (0: padding), and as the data has them value_BxA, group_B
Batch = dict[str, jax.Array]


class TrainState(NamedTuple):
  """All that a run is, but for its config. Every leaf is an array, so a stack of states is a stack
  of trials.
  """

  step: jax.Array  # int32, steps done
  # `config.trial` as arrays, so that a sweep does not recompile: seed int32, the others float32
  trial: dict[str, jax.Array]
  rate_scale: jax.Array  # float32: of the learning rates, as schedule=plateau has moved it
  params: Any  # dense parameters
  moving: dict[str, Any]  # collections of MOVING
  constants: Any  # drawn from the seed: the static filters and the like
  moments: Any  # optax state
  table: table_lib.Table  # the stacked embedding table, and what its optimizer keeps
  sparse: rules.Sparse | None = None  # masks over the dense parameters; None where there are none


class Program(NamedTuple):
  """The functions that a config stands for, and the devices that they run on."""

  config: config_lib.Config
  inputs: architecture.Inputs  # what the model is told of the data
  objective: objective_lib.Objective
  module: nn.Module
  last: int  # steps of the whole run; 0 where the data have no training split
  dense_optimizer: optax.GradientTransformation
  table: table_lib.Placed
  numeric: int  # A: the last A fields are multiplied by value_BxA
  # table rows over all its devices, batches over `data`, dense parameters over `model`
  mesh: jax.sharding.Mesh
  untrained_F: np.ndarray | None  # rows that known values must train: embedding/unknown.py
  terms: tuple[str, ...]  # of the training loss, that are logged each by itself
  sparsifier: rules.Sparsifier | None = None  # what masks the dense parameters
  table_sparsifier: table_masks.TableSparsifier | None = None  # what masks embeddings
  # dimensions that embeddings have, where the data set says that rows lack some
  dims: kept_dims.Selection | None = None


def program(
  config: config_lib.Config,
  schema: schema_lib.FeatureSchema,
  mesh: jax.sharding.Mesh | None = None,
  lookup: table_lib.ExchangeName = 'reduce_scatter',
  layout: table_lib.LayoutName = 'rows',
) -> Program:
  """Everything static of a run of `config` on data of `schema`, by default on the first device.

  Raises ValueError where the density of a rule leaves no weight of a kernel or entry of the table,
  where embeddings are not as long as the data set says, and where what is asked has no masks.
  """
  mesh = mesh or placement.make_mesh(1)
  model = models.find(config.model)
  inputs = architecture.inputs(config, schema)
  columns = model.columns(config, inputs)
  table = table_lib.Placed(
    columns=columns,
    sizes=tuple(field.vocab_size for field in schema.fields),
    dtype=config.table_dtype,
    start=config.embedding_init,
    optimizer=_table_optimizer(config, tuple(columns.values()), _method(mesh)),
    decays_all=config.table_decay_rows == 'all' and config.table_weight_decay > 0,
    mesh=mesh,
    exchange=lookup,
    layout=layout,
  )
  last = _last_step(config, schema)
  run = Program(
    config=config,
    inputs=inputs,
    objective=objective_lib.clicks(
      schema.tasks, config.monitor, config.label_smoothing, config.positive_weight
    ),
    module=model.module(config, inputs),
    last=last,
    dense_optimizer=optimizer.dense(),
    table=table,
    numeric=schema.numeric_count,
    mesh=mesh,
    untrained_F=unknown.untrained_rows(schema, config.unknown_share),
    terms=model.terms(config),
    dims=kept_dims.of_schema(schema, config.embedding_dim),
    table_sparsifier=table_masks.of_run(config, table, last),
  )
  if run.dims and run.table_sparsifier:
    raise ValueError(
      f'table_sparsity={config.table_sparsity}: rows of the data set lack dimensions by its plan, '
      'and have no masks'
    )
  return run._replace(sparsifier=_sparsifier(run, schema))


def _sparsifier(run: Program, schema: schema_lib.FeatureSchema) -> rules.Sparsifier | None:
  config = run.config
  if config.sparsity == 'none':
    return None
  constants = unstack(draw_constants(config, schema, [config.seed]), 0)
  boxed = _abstract_params(run, constants)
  return rules.of_run(config, nn.meta.unbox(boxed), marks_lib.read(boxed), run.last)


def settled(run: Program) -> int:
  """After how many steps a state is as sparse as the record says: before, none may be the best."""
  own = [one for one in (run.sparsifier, run.table_sparsifier) if one]
  steps = [schedule.settled(one.rule.is_due, one.schedule) for one in own]
  return min(max(steps, default=0), run.last)


def _last_step(config: config_lib.Config, schema: schema_lib.FeatureSchema) -> int:
  rows = schema.splits['train'].rows if 'train' in schema.splits else 0
  return config.epochs * -(-rows // config.batch_size)


def _method(mesh: jax.sharding.Mesh) -> duplicates.Method:
  """How duplicates are summed on these devices, which need not be at hand (runs/footprint.py)."""
  return duplicates.default_method(mesh.devices.flat[0].platform)


def _table_optimizer(
  config: config_lib.Config, widths: tuple[int, ...], method: duplicates.Method
) -> optimizers.TableOptimizer:
  factory = {
    'adam': optimizers.row_adam,
    'adagrad': functools.partial(optimizers.rowwise_adagrad, widths=widths),
    'sgd': optimizers.row_sgd,
  }[config.table_optimizer]
  return factory(method=method)


def init(run: Program, schema: schema_lib.FeatureSchema) -> TrainState:
  """The state of a run at step 0, placed on the devices of its mesh; no device ever holds the whole
  table.

  The table depends on the seed alone, so every arm of a comparison starts from the same rows.
  Raises ValueError if a view would keep more dimensions than the input has.
  """
  config = run.config
  constants = unstack(draw_constants(config, schema, [config.seed]), 0)
  placed = shardings(run, abstract_state(run, schema))
  one = jax.jit(functools.partial(_init_one, run), out_shardings=placed)
  state = one(as_arrays(config_lib.trial(config)), constants)
  return state._replace(table=table_lib.from_logical(run.table, state.table))


def abstract_state(run: Program, schema: schema_lib.FeatureSchema) -> TrainState:
  """Shapes and dtypes of a run's state, its table in logical row order, without computing it."""
  constants = unstack(draw_constants(run.config, schema, [run.config.seed]), 0)
  trial = as_arrays(config_lib.trial(run.config))
  return jax.eval_shape(functools.partial(_init_one, run), trial, constants)


def as_arrays(values: dict[str, Any]) -> dict[str, np.ndarray]:
  """Settings of a trial, or a list of each for several, as the state has them."""
  return {
    name: np.asarray(value, np.int32 if name == 'seed' else np.float32)
    for name, value in values.items()
  }


def init_trials(
  run: Program,
  schema: schema_lib.FeatureSchema,
  configs: Sequence[config_lib.Config],
  placed: jax.sharding.Sharding,
) -> TrainState:
  """The states of trials of the shape of a one-device program, stacked on a leading axis and
  `placed`; else as `init`.
  """
  trials = [config_lib.trial(config) for config in configs]
  stacked = {name: [trial[name] for trial in trials] for name in trials[0]}
  constants = draw_constants(run.config, schema, [config.seed for config in configs])
  one = jax.vmap(functools.partial(_init_one, run))
  return jax.jit(one, out_shardings=placed)(as_arrays(stacked), constants)


def shardings(run: Program, state: TrainState) -> TrainState:
  """Where each leaf lives: table and dense parameters by their own rules, the rest everywhere."""
  one = placement.sharding(run.mesh, replicated=True)
  params = dense_placement.shardings(state.params, marks(run, state.constants), run.mesh)
  moments = optax.tree_utils.tree_map_params(
    run.dense_optimizer,
    lambda _, sharding: sharding,
    state.moments,
    params,
    transform_non_params=lambda _: one,
  )
  sparse = state.sparse
  if sparse is not None:
    sparse = jax.tree.map(lambda _: one, sparse)._replace(
      masks=masks_lib.beside(sparse.masks, params),
      grown=masks_lib.beside(sparse.grown, params),
      early=None if sparse.early is None else params,
      scores=masks_lib.beside(sparse.scores, params),
    )
  return jax.tree.map(lambda _: one, state)._replace(
    sparse=sparse,
    params=params,
    moments=moments,
    table=table_lib.shardings(run.table, state.table),
  )


def without_optimizer(state: TrainState) -> TrainState:
  """What an evaluation needs; saves tracing and moving the optimizer's state."""
  return state._replace(moments=None, table=table_lib.without_slots(state.table), sparse=None)


def draw_constants(
  config: config_lib.Config, schema: schema_lib.FeatureSchema, seeds: Sequence[int]
) -> Any:
  """The constants of len(seeds) trials, stacked; {} for models that have none."""
  inputs = architecture.inputs(config, schema)
  drawn = [models.find(config.model).constants(config, inputs, seed) for seed in seeds]
  return jax.tree.map(_stack, *drawn, is_leaf=_is_filter)


def _stack(*alike: Any) -> Any:
  return static_filter.stack(alike) if _is_filter(alike[0]) else np.stack(alike)


def _is_filter(leaf: Any) -> bool:
  return isinstance(leaf, static_filter.StaticFilter)


def _init_one(run: Program, trial: dict[str, jax.Array], constants: Any) -> TrainState:
  table_key, dense_key = jax.random.split(jax.random.key(trial['seed']))
  made = _init_module(run, constants, dense_key)
  params = nn.meta.unbox(made['params'])
  sparse = None
  if run.sparsifier:
    start = rules.Start(
      jax.random.fold_in(dense_key, MASKS),
      params,
      functools.partial(_of_ones, run, {'constants': constants} | _moving(made)),
    )
    sparse = rules.init(run.sparsifier, start)
    params = masks_lib.apply(sparse.masks, params)
  return TrainState(
    jnp.int32(0),
    trial,
    jnp.float32(1),
    params,
    _moving(made),
    constants,
    run.dense_optimizer.init(params),
    _init_table(run, table_key, trial['seed']),
    sparse,
  )


def _init_table(run: Program, key: jax.Array, seed: jax.Array) -> table_lib.Table:
  table = kept_dims.cut(run.dims, run.table, table_lib.init(run.table, key, seed))
  if run.table_sparsifier is None:
    return table
  return table_masks.start(run.table_sparsifier, run.table, table)


def _of_ones(run: Program, others: Mapping[str, Any], params: Any) -> jax.Array:
  """logits_BxT of one example whose embeddings are all 1; `others` as `variables`, but params."""
  rows = {
    purpose: jnp.ones((1, run.inputs.fields, width)) for purpose, width in run.table.columns.items()
  }
  return run.module.apply({'params': params, **others}, rows, train=False)


def _init_module(run: Program, constants: Any, key: jax.Array) -> Any:
  """The collections `params`, in their marks, and those of MOVING at step 0."""
  rows = {
    purpose: jnp.zeros((1, run.inputs.fields, width))
    for purpose, width in run.table.columns.items()
  }
  _, made = run.module.apply(
    {'constants': constants},
    rows,
    train=False,
    rngs={'params': key},
    mutable=['params', *MOVING],
  )
  return made


def marks(run: Program, constants: Any) -> Any:
  """What each dense parameter says of itself (models/marks.py), in the tree of the parameters."""
  return marks_lib.read(_abstract_params(run, constants))


def _abstract_params(run: Program, constants: Any) -> Any:
  """Shapes of the dense parameters, in their marks."""
  return jax.eval_shape(functools.partial(_init_module, run), constants, jax.random.key(0))[
    'params'
  ]


class StepSums(NamedTuple):
  """What a step adds up; `dropped` ids would be a wrong result, so whoever reads the sums must
  refuse any.
  """

  loss: jax.Array  # float32: over steps, nats per example, with what a model sows
  dropped: jax.Array  # int32: ids beyond the capacity of an all-to-all lookup or update
  terms: dict[str, jax.Array]  # float32: parts of `loss` by name, those that were asked for


def zero_sums(terms: Sequence[str] = ()) -> StepSums:
  """Sums over no step; each of these terms of the loss is added up by itself too."""
  return StepSums(jnp.float32(0), jnp.int32(0), {name: jnp.float32(0) for name in terms})


class Found(NamedTuple):
  """What a batch tells of a state."""

  loss: jax.Array  # with `terms`
  terms: dict[str, jax.Array]  # of what a model sows, by name
  moving: dict[str, Any]  # the collections of MOVING after the batch
  dropped: jax.Array  # as in `StepSums`, of the lookup
  grads: Any  # of the dense parameters
  row_grads: table_lib.Rows
  gradient: rules.OfParams  # other dense parameters -> their gradient on the same batch


class Dense(NamedTuple):
  """The dense parameters of a step, under the masks in force from it on."""

  params: Any  # as they are if a change of masks takes the place of the update
  trained: Any  # what moves: the same, or scores in the places of kernels
  grads: Any  # of `trained`
  moments: optax.OptState
  sparse: rules.Sparse | None
  changed: jax.Array | None = None  # whether masks changed; None: they cannot


def train_step(
  run: Program, state: TrainState, sums: StepSums, batch: Batch
) -> tuple[TrainState, StepSums]:
  """One step on one batch: on the mean loss of its examples, without those of weight 0.

  What the model sows into `losses`, and the loss of what it sows into `logits`, is added to it.
  """
  state = _in_place(run, state)
  config, module = _of_trial(run, state)
  learning_rate = optimizer.rate(config, run.last, state.step, state.rate_scale)
  noise_key = jax.random.fold_in(jax.random.key(state.trial['seed']), state.step)
  mask_key = jax.random.fold_in(noise_key, MASKS)

  batch = _over_data(run, batch)
  ids_BxF = unknown.drop(
    batch['ids_BxF'], batch['weight_B'], run.untrained_F, run.config.unknown_share, noise_key
  )
  found = _differentiate(run, module, state, batch, ids_BxF, noise_key)
  dense = _under_masks(run, state, found, mask_key)
  grads, row_grads = _clipped(run, config, ids_BxF, dense.grads, found.row_grads)

  decaying = None if config_lib.is_off(config.weight_decay) else marks(run, state.constants)
  dense = dense._replace(grads=grads)
  dense = _moved(run, dense, learning_rate, config.weight_decay, decaying, mask_key)
  rates = _table_rates(config, learning_rate)
  updated = table_lib.update(run.table, state.table, ids_BxF, row_grads, rates)
  table = updated.table
  if run.table_sparsifier:
    table = table_masks.at_step(run.table_sparsifier, run.table, table, state.step)

  state = state._replace(
    step=state.step + 1,
    params=dense.params,
    moving=found.moving,
    moments=dense.moments,
    table=table,
    sparse=dense.sparse,
  )
  return _in_place(run, state), StepSums(
    sums.loss + found.loss,
    sums.dropped + found.dropped + updated.dropped,
    {name: total + found.terms[name] for name, total in sums.terms.items()},
  )


def _differentiate(
  run: Program,
  module: nn.Module,
  state: TrainState,
  batch: Batch,
  ids_BxF: jax.Array,
  noise_key: jax.Array,
) -> Found:
  """Loss and gradients, to the dense parameters and to the looked-up rows."""

  def loss_fn(params: Any, rows: table_lib.Rows) -> tuple[jax.Array, Any]:
    logits_BxT, changed = module.apply(
      variables(state._replace(params=params)),
      scaled_by_values(run, kept_dims.times(run.dims, rows, ids_BxF), batch),
      batch['weight_B'],
      train=True,
      rngs={'dropout': noise_key},
      mutable=(*MOVING, 'losses', 'logits'),
    )
    loss = run.objective.loss(logits_BxT, batch)
    terms = _terms(run, changed, batch)
    for term in terms.values():
      loss += term
    return loss, (_moving(changed), terms)

  def gradient(params: Any) -> Any:
    return jax.grad(loss_fn, has_aux=True)(params, looked_up.rows)[0]

  looked_up = table_lib.lookup(run.table, state.table, ids_BxF)
  grad_fn = jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)
  (loss, (moving, terms)), (grads, row_grads) = grad_fn(state.params, looked_up.rows)
  return Found(loss, terms, moving, looked_up.dropped, grads, row_grads, gradient)


def _under_masks(run: Program, state: TrainState, found: Found, key: jax.Array) -> Dense:
  """What the rule of sparsity, if there is one, makes of parameters and gradients."""
  if not run.sparsifier:
    return Dense(state.params, state.params, found.grads, state.moments, None)
  if run.sparsifier.rule.trains_scores:
    scores, grads = rules.scores_for_kernels(state.sparse, state.params, found.grads)
    return Dense(state.params, scores, grads, state.moments, state.sparse)

  occasion = rules.Occasion(
    key=key,
    step=state.step,
    sparse=state.sparse,
    params=state.params,
    grads=found.grads,
    gradient=found.gradient,
  )
  masked, changed = _mask(run, state, occasion)
  grads = masks_lib.apply(masked.sparse.masks, found.grads)
  return Dense(masked.params, masked.params, grads, masked.moments, masked.sparse, changed)


def _clipped(
  run: Program,
  config: config_lib.Config,
  ids_BxF: jax.Array,
  grads: Any,
  row_grads: table_lib.Rows,
) -> tuple[Any, table_lib.Rows]:
  """Both gradients, scaled down together where their norm is above `clip_norm`."""
  if config_lib.is_off(config.clip_norm):
    return grads, row_grads
  squared_rows = _squared_norm(run, ids_BxF, row_grads, run.table.height)
  scale = optimizer.clip_scale(config.clip_norm, grads, squared_rows)
  return jax.tree.map(lambda grad: grad * scale, (grads, row_grads))


def _moved(
  run: Program,
  dense: Dense,
  learning_rate: jax.Array,
  weight_decay: jax.Array | float,
  decaying: Any | None,
  key: jax.Array,
) -> Dense:
  """One step of the dense optimizer; `decaying`: marks of what decays, None: nothing does."""
  with jax.numpy_dtype_promotion('standard'):  # optax raises a float to the power of an int32 count
    updates, moments = run.dense_optimizer.update(dense.grads, dense.moments, dense.trained)
  if decaying is not None:
    updates = optimizer.with_decay(updates, dense.trained, decaying, weight_decay)
  params = jax.tree.map(lambda p, u: p - learning_rate * u, dense.trained, updates)

  rule = run.sparsifier.rule if run.sparsifier else None
  sparse = dense.sparse
  if rule and rule.trains_scores:
    params, sparse = rules.kernels_for_scores(run.sparsifier, sparse, params, key)
  if rule and rule.skips_update:
    stay = dense.params, dense.moments
    params, moments = _chosen(dense.changed, stay, (params, moments))
  return dense._replace(params=params, moments=moments, sparse=sparse)


def _mask(
  run: Program, state: TrainState, occasion: rules.Occasion
) -> tuple[TrainState, jax.Array]:
  """(the state under the masks in force from this step on, whether they changed).

  Weights that the masks leave out, or have just let in, are 0 and carry no moments. A rule that
  rewinds has all dense parameters start again from where they were early on.
  """
  sparse, changed = rules.at_step(run.sparsifier, occasion)
  if run.sparsifier.rule.rewinds:
    anew = sparse.early, run.dense_optimizer.init(sparse.early)
    params, moments = _chosen(changed, anew, (state.params, state.moments))
    state = state._replace(params=params, moments=moments)
  both = masks_lib.over(jnp.logical_and, sparse.masks, state.sparse.masks)
  moments = optax.tree_utils.tree_map_params(
    run.dense_optimizer,
    lambda moment, mask: moment if mask is None else jnp.where(mask, moment, 0),
    state.moments,
    both,
  )
  params = masks_lib.apply(sparse.masks, state.params)
  return state._replace(params=params, moments=moments, sparse=sparse), changed


def _chosen(condition: jax.Array, first: Any, second: Any) -> Any:
  return jax.tree.map(lambda a, b: jnp.where(condition, a, b), first, second)


def _terms(run: Program, changed: Any, batch: Batch) -> dict[str, jax.Array]:
  """What is added to the loss, by the name under which the model has sown it."""
  further = jax.tree.map(
    lambda logits: run.objective.loss(logits, batch), changed.get('logits', {})
  )
  terms = {}
  for path, term in jax.tree.leaves_with_path((changed.get('losses', {}), further)):
    name = '/'.join(key.key for key in path if isinstance(key, jax.tree_util.DictKey))
    terms[name] = terms[name] + term if name in terms else term
  return terms


def _of_trial(run: Program, state: TrainState) -> tuple[config_lib.Config, nn.Module]:
  """The config of this trial, with arrays where trials may differ, and its network."""
  config = config_lib.in_trial(run.config, state.trial)
  return config, models.find(config.model).module(config, run.inputs)


def learning_rate(run: Program, state: TrainState) -> jax.Array:
  """The learning rate of the dense parameters at the next step."""
  config = config_lib.in_trial(run.config, state.trial)
  return optimizer.rate(config, run.last, state.step, state.rate_scale)


def _squared_norm(
  run: Program, ids_BxF: jax.Array, row_grads: table_lib.Rows, rows: int
) -> jax.Array:
  """The part of the table, whose height is `rows`, in the squared norm of all gradients."""
  method = _method(run.mesh)
  ids_O = ids_BxF.reshape(-1)
  parts = [
    duplicates.squared_norm(method, ids_O, grads_BxFxD.reshape(ids_O.shape[0], -1), rows)
    for grads_BxFxD in row_grads.values()
  ]
  return jnp.sum(jnp.stack(parts))


def _table_rates(config: config_lib.Config, learning_rate: jax.Array) -> optimizers.Rates:
  def on(value: Any) -> jax.Array | None:
    return None if config_lib.is_off(value) else value

  return optimizers.Rates(
    learning_rate * config.table_learning_rate_ratio,
    on(config.table_weight_decay),
    on(config.table_l2),
  )


def _in_place(run: Program, state: TrainState) -> TrainState:
  """Every leaf where `shardings` has it: at both ends of a step, or XLA moves leaves about inside a
  loop of steps.

  With one device there is nothing to say, and which one it is stays open (`runs/trials.py` runs a
  step on each).
  """
  return (
    state if run.mesh.size == 1 else jax.lax.with_sharding_constraint(state, shardings(run, state))
  )


def _over_data(run: Program, batch: Batch) -> Batch:
  """The batch by examples over `data`; with one device as in `_in_place`."""
  return (
    batch
    if run.mesh.size == 1
    else jax.lax.with_sharding_constraint(batch, jax.NamedSharding(run.mesh, jax.P('data')))
  )


def eval_step(run: Program, state: TrainState, sums: Any, batch: Batch) -> tuple[Any, jax.Array]:
  """Adds one batch to the sums of the objective; also returns logits_BxT.

  The state must stay alive: do not donate it. Rows always travel by reduce-scatter here, which
  cannot drop any.
  """
  batch = _over_data(run, batch)
  logits_BxT = forward(run, run.module, variables(state), state.table, batch)
  return run.objective.add(sums, logits_BxT, batch), logits_BxT


def forward(
  run: Program,
  module: nn.Module,
  variables: Mapping[str, Any],
  table: table_lib.Table,
  batch: Batch,
) -> jax.Array:
  """logits_BxT of a network, the trained one or what is served of it; labels are not read."""
  rows = table_lib.read(run.table, table, batch['ids_BxF'])
  return module.apply(variables, scaled_by_values(run, rows, batch), train=False)


def counts(config: config_lib.Config, schema: schema_lib.FeatureSchema) -> dict[str, int]:
  """Analytic sizes of a trial record: dense parameters, those that are not structurally zero, both
  of the table, FLOPs.

  The shared input normalization is in no count. A random filter stores kept connections only; a
  learned one trains the others too, and a score per unit of input: none of these counts as
  non-zero, the network ends without them. So do weights that a rule of sparsity leaves out at the
  end, and as no FLOPs, though a masked product computes them. All counts are of the network that is
  deployed, but for the two of the one that is trained, which some models merge into it.
  """
  model = models.find(config.model)
  inputs = architecture.inputs(config, schema)
  cost = model.cost(config, inputs)
  run = program(config, schema) if min(config.density, config.table_density) < 1 else None
  dropped = rules.dropped(run.sparsifier) if run and run.sparsifier else 0
  dropped_entries = run.table_sparsifier.dropped if run and run.table_sparsifier else 0
  embedding_params = kept_dims.parameters(schema, model.columns(config, inputs))
  trained = model.cost_of_training(config, inputs)
  return {
    'dense_params': cost.params,
    'dense_params_nonzero': cost.params - cost.idle - dropped,
    'embedding_params': embedding_params,
    'embedding_params_nonzero': embedding_params - dropped_entries,
    'flops_per_example': cost.flops - 2 * dropped,
    'trained_dense_params': trained.params,
    'trained_flops_per_example': trained.flops - 2 * dropped,
  }


def unstack(stacked: Any, trial: int) -> Any:
  """The state, or anything else, of one trial of a stack."""
  return jax.tree.map(lambda leaf: leaf[trial], stacked)


def variables(state: TrainState) -> dict[str, Any]:
  """What the module of a program is applied to."""
  return {'params': state.params, 'constants': state.constants} | state.moving


def _moving(collections: Any) -> dict[str, Any]:
  return {name: collections[name] for name in MOVING if name in collections}


def scaled_by_values(run: Program, rows: table_lib.Rows, batch: Batch) -> table_lib.Rows:
  """The rows as the network reads them: a numeric field is value times its row, a categorical one
  its row. Where the data have clusters, that of each example is beside them.
  """
  routes = {architecture.CLUSTER: batch['ids_BxF'][:, 0]} if run.inputs.clusters else {}
  if not run.numeric:
    return rows | routes
  padding = len(run.table.sizes) - run.numeric
  value_BxF = jnp.pad(batch['value_BxA'], ((0, 0), (padding, 0)), constant_values=1.0)
  scaled = {purpose: rows_BxFxD * value_BxF[..., None] for purpose, rows_BxFxD in rows.items()}
  return scaled | routes
