"""Rules that choose, and change, which weights of the dense kernels are kept while they train.

A rule is two pure functions: at which steps masks change, and what becomes of them. Whatever the
rule, weights outside of a mask are exact zeros and neither move nor carry moments. `set`, `rigl`
and `dsl` keep as many after a change as before it; the others thin out from dense. Where weights
are kept in blocks or groups (structure.py), rules compare sums over blocks, groups keep as many
each, and `snip`, `grasp` and `synflow` keep of each kernel its own share.

| rule        | masks start         | change                                                      |
|-------------|---------------------|-------------------------------------------------------------|
| `static`    | random              | never                                                       |
| `set`       | random              | drop the smallest weights, grow random ones (Mocanu 2018)   |
| `rigl`      | random              | drop the smallest weights, grow those of the largest        |
|             |                     | gradients of the step (Evci et al. 2020, algorithm 1)       |
| `dsl`       | random              | as rigl, by gradients added up since the last change        |
|             |                     | (arXiv 2402.02855, with the sum of SparseRec, 2411.12205)   |
| `magnitude` | dense               | once: the largest weights stay                              |
| `gradual`   | dense               | the largest weights, fewer and fewer along a cubic curve    |
|             |                     | (Zhu and Gupta 2017)                                        |
| `rewind`    | dense               | the largest weights, fewer and fewer along an exponential   |
|             |                     | curve, and all parameters back to what they were at         |
|             |                     | `mask_from` (Frankle et al. 2020, 1912.05671)               |
| `snip`      | dense               | at the first step: largest |gradient times weight| of all   |
|             |                     | kernels together (Lee et al. 2019)                          |
| `grasp`     | dense               | at the first step: largest w (H g) of all kernels together, |
|             |                     | so that the gradient stays large (Wang et al. 2020)         |
| `synflow`   | largest |w dR/dw|   | never: R is the network of |w| on ones, pruned in rounds    |
|             |                     | before the first step (Tanaka et al. 2020, algorithm 1)     |
| `edge_popup`| random              | at every step: largest |score|; weights stay as they start, |
|             |                     | scores train straight through the choice (Ramanujan et al.  |
|             |                     | 2020, 1911.13299, section 3)                                |
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rec_sparse.config import Config
from rec_sparse.sparsity import masks as masks_lib
from rec_sparse.sparsity import schedule as schedule_lib
from rec_sparse.sparsity import structure as structure_lib
from rec_sparse.sparsity.masks import Counts
from rec_sparse.sparsity.masks import Masks
from rec_sparse.sparsity.schedule import Schedule
from rec_sparse.sparsity.structure import Structure

SYNFLOW_ROUNDS = 100  # of pruning, as in its paper's experiments

OfParams = Callable[[Any], Any]  # a function of the dense parameters


class Sparse(NamedTuple):
  """What a state holds of a rule; trees of the parameters, None beside what is never masked."""

  masks: Masks
  grown: Any  # |gradient| added up since the last change; None for rules that do not ask for it
  # dense parameters that kernels go back to: at the step `Schedule.first`; `edge_popup`: the start
  early: Any = None
  scores: Any = None  # of `edge_popup`: one beside every weight


class Occasion(NamedTuple):
  """What a rule sees of a step at which masks change."""

  key: jax.Array
  step: jax.Array
  sparse: Sparse  # in force before the step; in `change`, gradients of this step added up
  params: Any
  grads: Any  # of the step, at the stored weights: not masked
  gradient: OfParams  # -> gradient of the step's loss, the table's rows as they are


class Start(NamedTuple):
  """What a rule sees before the first step."""

  key: jax.Array
  params: Any
  of_ones: OfParams  # -> logits of one example whose embeddings are all 1, in evaluation


def _random(own: 'Sparsifier', start: Start) -> Masks:
  return _largest(own, own.counts, jax.tree.map(jnp.zeros_like, start.params), start.key)


def _dense(own: 'Sparsifier', start: Start) -> Masks:
  return masks_lib.over(lambda _, param: jnp.ones(param.shape, bool), own.counts, start.params)


def _by_flow(own: 'Sparsifier', start: Start) -> Masks:
  """SynFlow: of all kernels together the largest |w dR/dw|, R = sum of logits of |w| on ones.

  Counts fall along an exponential curve, from all weights.
  """
  sizes = jax.tree.map(jnp.abs, start.params)
  gradient = jax.grad(lambda params: jnp.sum(start.of_ones(params)))

  def flow(mask: jax.Array, size: jax.Array, grad: jax.Array) -> jax.Array:
    return jnp.where(mask, jnp.abs(size * grad), -1)

  def pruned(i: jax.Array, masks: Masks) -> Masks:
    grads = gradient(masks_lib.apply(masks, sizes))
    scores = masks_lib.over(flow, masks, sizes, grads)
    counts = _exponential(own.counts, sizes, (i + 1) / SYNFLOW_ROUNDS)
    return _together(own, counts, scores, jax.random.fold_in(start.key, i))

  return jax.lax.fori_loop(0, SYNFLOW_ROUNDS, pruned, _dense(own, start))


def _exponential(counts: Counts, params: Any, done: jax.Array) -> Counts:
  """From all weights (`done` 0) to `counts` (1), by the same share for the same way."""

  def so_far(count: int, param: jax.Array) -> jax.Array:
    now = jnp.round(param.size * (count / param.size) ** done).astype(jnp.int32)
    return jnp.where(done < 1, now, count)

  return masks_lib.over(so_far, counts, params)


class Rule(NamedTuple):
  """How masks start and change."""

  is_due: schedule_lib.IsDue
  change: Callable[['Sparsifier', Occasion], Masks]
  start: Callable[['Sparsifier', Start], Masks] = _random
  adds_up: bool = False  # gradients between changes
  # no update of parameters at a step that exchanges weights, as in the code of rigl
  skips_update: bool = False
  rewinds: bool = False  # dense parameters and their moments, at a change
  trains_scores: bool = False  # in place of kernels


def _keep(own: 'Sparsifier', occasion: Occasion) -> Masks:
  del own
  return occasion.sparse.masks


def _by_magnitude(own: 'Sparsifier', occasion: Occasion) -> Masks:
  return _largest(own, own.counts, jax.tree.map(jnp.abs, occasion.params), occasion.key)


def _fewer(own: 'Sparsifier', occasion: Occasion) -> Masks:
  """From all weights at `first` to the counts at `end`, along 1 - (1 - done)^3."""
  dropped = schedule_lib.thinned(own.schedule, occasion.step)

  def so_far(count: int, param: jax.Array) -> jax.Array:
    return param.size - jnp.round(dropped * (param.size - count)).astype(jnp.int32)

  now = masks_lib.over(so_far, own.counts, occasion.params)
  return _largest(own, now, jax.tree.map(jnp.abs, occasion.params), occasion.key)


def _fewer_by_shares(own: 'Sparsifier', occasion: Occasion) -> Masks:
  """From all weights at `first` to the counts at `end`, the largest of those still kept."""
  now = _exponential(own.counts, occasion.params, schedule_lib.done(own.schedule, occasion.step))
  return _largest(own, now, jax.tree.map(jnp.abs, occasion.params), occasion.key)


def _by_saliency(own: 'Sparsifier', occasion: Occasion) -> Masks:
  def saliency(count: int, param: jax.Array, grad: jax.Array) -> jax.Array:
    del count
    return jnp.abs(param * grad)

  scores = masks_lib.over(saliency, own.counts, occasion.params, occasion.grads)
  return _together(own, own.counts, scores, occasion.key)


def _by_gradient_flow(own: 'Sparsifier', occasion: Occasion) -> Masks:
  """GraSP: without w, the squared norm of the gradients of kernels falls by 2 w (H g).

  H g is the derivative of g's product with itself held fixed: backward twice, since functions with
  a backward pass of their own have no forward one.
  """

  def flow(params: Any) -> jax.Array:
    products = masks_lib.over(
      lambda _, grad, fixed: jnp.sum(grad * fixed),
      own.counts,
      occasion.gradient(params),
      occasion.grads,
    )
    return sum(jax.tree.leaves(products))

  curved = jax.grad(flow)(occasion.params)
  scores = masks_lib.over(lambda _, param, bent: param * bent, own.counts, occasion.params, curved)
  return _together(own, own.counts, scores, occasion.key)


def _largest(own: 'Sparsifier', counts: Counts, scores: Any, key: jax.Array) -> Masks:
  """Of each kernel as many as `counts` say (they may be traced), or a few more in whole units."""

  def of_kernel(count: Any, score: jax.Array, key: jax.Array) -> jax.Array:
    grid = structure_lib.grid(own.structure, score.shape)
    of_group = -(-count // grid.step)
    kept = masks_lib.largest(structure_lib.units(grid, score), of_group, key)
    return structure_lib.spread(grid, kept)

  return masks_lib.over(of_kernel, counts, scores, masks_lib.keys(key, counts))


def _together(own: 'Sparsifier', counts: Counts, scores: Any, key: jax.Array) -> Masks:
  """Of all kernels together; with a structure, of each kernel as `counts` say."""
  if own.structure.kind == 'none':
    return masks_lib.largest_of_all(scores, masks_lib.total(counts), key)
  return _largest(own, counts, scores, key)


def _grow_at_random(own: 'Sparsifier', occasion: Occasion) -> Masks:
  lots = jax.tree.map(jnp.zeros_like, occasion.grads)  # all alike: `largest` draws
  return _exchange(own, schedule_lib.share(own.schedule, occasion.step), occasion, lots)


def _grow_by_gradient(own: 'Sparsifier', occasion: Occasion) -> Masks:
  scores = jax.tree.map(jnp.abs, occasion.grads)
  return _exchange(own, schedule_lib.share(own.schedule, occasion.step), occasion, scores)


def _grow_by_sum(own: 'Sparsifier', occasion: Occasion) -> Masks:
  share = schedule_lib.share_with_floor(own.schedule, occasion.step)
  return _exchange(own, share, occasion, occasion.sparse.grown)


def _exchange(own: 'Sparsifier', share: jax.Array, occasion: Occasion, scores: Any) -> Masks:
  """Drops a share of the kept weights, the smallest, and grows as many by their scores.

  A weight that is dropped may grow again at once. Every group grows what it has lost.
  """

  def of_kernel(
    count: int, mask: jax.Array, param: jax.Array, score: jax.Array, key: jax.Array
  ) -> jax.Array:
    grid = structure_lib.grid(own.structure, mask.shape)
    kept = count // grid.weights
    replaced = jnp.ceil(share * kept).astype(jnp.int32)
    drop_key, grow_key = jax.random.split(key)

    sizes = structure_lib.units(grid, jnp.where(mask, jnp.abs(param), -1))
    held = masks_lib.largest(sizes.reshape(-1), kept - replaced, drop_key).reshape(sizes.shape)
    lost = count // grid.step - jnp.sum(held, -1, keepdims=True)
    grown = masks_lib.largest(jnp.where(held, -1, structure_lib.units(grid, score)), lost, grow_key)
    return structure_lib.spread(grid, held | grown)

  keys = masks_lib.keys(occasion.key, own.counts)
  return masks_lib.over(of_kernel, own.counts, occasion.sparse.masks, occasion.params, scores, keys)


RULES = {
  'static': Rule(is_due=schedule_lib.never, change=_keep),
  'set': Rule(is_due=schedule_lib.periodic, change=_grow_at_random, skips_update=True),
  'rigl': Rule(is_due=schedule_lib.periodic, change=_grow_by_gradient, skips_update=True),
  'dsl': Rule(is_due=schedule_lib.periodic, change=_grow_by_sum, adds_up=True),
  'magnitude': Rule(is_due=schedule_lib.once, change=_by_magnitude, start=_dense),
  'gradual': Rule(is_due=schedule_lib.falling, change=_fewer, start=_dense),
  'rewind': Rule(
    is_due=schedule_lib.after_first,
    change=_fewer_by_shares,
    start=_dense,
    skips_update=True,
    rewinds=True,
  ),
  'snip': Rule(is_due=schedule_lib.at_start, change=_by_saliency, start=_dense),
  'grasp': Rule(is_due=schedule_lib.at_start, change=_by_gradient_flow, start=_dense),
  'synflow': Rule(is_due=schedule_lib.never, change=_keep, start=_by_flow),
  'edge_popup': Rule(is_due=schedule_lib.never, change=_keep, trains_scores=True),
}


class Sparsifier(NamedTuple):
  """A rule with what a run makes of it."""

  rule: Rule
  counts: Counts  # of kept weights, at the end
  schedule: Schedule
  weights: int  # of all kernels that have masks
  structure: Structure = structure_lib.UNSTRUCTURED


def of_run(config: Config, params: Any, marks: Any, last: int) -> Sparsifier | None:
  """What `config` says for a run of `last` steps; None where nothing is masked.

  `params` are arrays or shapes. Raises ValueError where a kernel would keep no weight, or where
  there is none.
  """
  if config.sparsity == 'none':
    return None
  structure = Structure(config.mask_structure, config.mask_group, config.mask_block)
  counts = masks_lib.counts(params, marks, config.density, config.density_by, structure)
  if not jax.tree.leaves(counts):
    raise ValueError(f'sparsity={config.sparsity}: {config.model} has no kernel to mask')
  sizes = masks_lib.over(lambda _, param: param.size, counts, params)
  weights = masks_lib.total(sizes)
  return Sparsifier(
    RULES[config.sparsity], counts, schedule_lib.of_run(config, last), weights, structure
  )


def dropped(own: Sparsifier) -> int:
  """Weights that the masks leave out at the end."""
  return own.weights - masks_lib.total(own.counts)


def init(own: Sparsifier, start: Start) -> Sparse:
  """Masks at step 0."""
  grown = None
  if own.rule.adds_up:
    grown = masks_lib.over(lambda _, param: jnp.zeros_like(param), own.counts, start.params)
  early = None
  if own.rule.rewinds or own.rule.trains_scores:
    early = jax.tree.map(jnp.copy, start.params)
  if own.rule.trains_scores:
    scores = _drawn_scores(own, start)
    return Sparse(_by_score(own, scores, start.key), grown, early, scores)
  return Sparse(own.rule.start(own, start), grown, early)


def _drawn_scores(own: Sparsifier, start: Start) -> Any:
  """Uniform in +- 1 / sqrt(inputs), as in the code of edge_popup."""

  def of_kernel(_: Any, param: jax.Array, key: jax.Array) -> jax.Array:
    most = param.shape[-2] ** -0.5
    return jax.random.uniform(key, param.shape, minval=-most, maxval=most)

  return masks_lib.over(of_kernel, own.counts, start.params, masks_lib.keys(start.key, own.counts))


def _by_score(own: Sparsifier, scores: Any, key: jax.Array) -> Masks:
  return _largest(own, own.counts, jax.tree.map(jnp.abs, scores), key)


def scores_for_kernels(sparse: Sparse, params: Any, grads: Any) -> tuple[Any, Any]:
  """(parameters, gradients) with those of the scores in place of the kernels'.

  A weight acts as w times whether its score is chosen, and the derivative of the choice is taken
  for 1: so the gradient of a score is w times that by the weight in force.
  """
  score_grads = masks_lib.over(
    lambda _, grad, weight: grad * weight, sparse.scores, grads, sparse.early
  )
  return masks_lib.instead(sparse.scores, params), masks_lib.instead(score_grads, grads)


def kernels_for_scores(
  own: Sparsifier, sparse: Sparse, trained: Any, key: jax.Array
) -> tuple[Any, Sparse]:
  """(parameters, what is in force) after a step that has moved scores in place of kernels."""
  scores = masks_lib.beside(sparse.scores, trained)
  masks = _by_score(own, scores, key)
  params = masks_lib.instead(masks_lib.beside(scores, sparse.early), trained)
  return masks_lib.apply(masks, params), sparse._replace(masks=masks, scores=scores)


def at_step(own: Sparsifier, occasion: Occasion) -> tuple[Sparse, jax.Array]:
  """(what is in force from this step on, whether masks changed), before the step's own update."""
  sparse = _remembered(own, occasion)
  is_due = own.rule.is_due(own.schedule, occasion.step)

  def changed(sparse: Sparse) -> Sparse:
    masks = own.rule.change(own, occasion._replace(sparse=sparse))
    return sparse._replace(masks=masks, grown=jax.tree.map(jnp.zeros_like, sparse.grown))

  return jax.lax.cond(is_due, changed, lambda sparse: sparse, sparse), is_due


def _remembered(own: Sparsifier, occasion: Occasion) -> Sparse:
  """What a rule keeps of this step, whether masks change at it or not."""
  sparse = occasion.sparse
  if own.rule.adds_up:
    grown = masks_lib.over(
      lambda _, grown, grad: grown + jnp.abs(grad), own.counts, sparse.grown, occasion.grads
    )
    sparse = sparse._replace(grown=grown)
  if own.rule.rewinds:
    is_early = occasion.step == own.schedule.first
    early = jax.tree.map(
      lambda now, early: jnp.where(is_early, now, early), occasion.params, sparse.early
    )
    sparse = sparse._replace(early=early)
  return sparse
