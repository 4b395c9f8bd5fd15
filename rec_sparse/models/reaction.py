"""REACTION's Dynamic Tower Fusion (AAAI 2026): several towers in training, one that is served.

The paper's, as a summary tells it: towers of dense layers on the same embeddings, each with its
cross-entropy and three losses by which it learns from the others; for inference one of them. Our
reading: all formulas, and three of the four ways to end with one tower, which `merge` names:

  drop      the towers beside the first one leave. The first is what validations, early stopping and
            a study judge. Which of several towers of one width is the best of a validation is a
            choice among seeds, and no tower that is trained alone is given one.
  branches  every layer is a sum of linear branches, each with its batch normalization, and one of
            low rank, under one ReLU: in the end one kernel (RepVGG, arXiv 2101.03697)
  block     the mean of the towers' logits, as one network of block-diagonal kernels
  soup      a tower of the mean weights of towers that start alike (arXiv 2203.05482)

An evaluation computes what is served, which `tower_merge` makes a plain dense MLP.
"""

from collections.abc import Sequence
import dataclasses
import operator
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from rec_sparse import flops
from rec_sparse.config import Config
from rec_sparse.config import setting
from rec_sparse.models import dense_mlp
from rec_sparse.models import fusion_losses
from rec_sparse.models import layers
from rec_sparse.models import tower_merge
from rec_sparse.models import towers as towers_lib
from rec_sparse.models.architecture import Architecture
from rec_sparse.models.architecture import Inputs
from rec_sparse.models.architecture import Rows


@dataclasses.dataclass(frozen=True)
class Options(fusion_losses.Options):
  """Beyond `width` and `depth`, which are those of the first tower, and the losses."""

  merge: Literal['drop', 'branches', 'block', 'soup'] = setting(
    'drop', 'how towers become one: the first stays; one kernel; block-diagonal; mean weights'
  )
  towers: int = setting(2, 'K: towers in training; branches: of each layer', least=1)
  tower_widths: tuple[int, ...] = setting(
    (), 'units per layer of each tower beside the first; empty: `width`', least=1
  )
  branch_rank: int = setting(8, 'branches: rank of the one of low rank; 0: none', least=0)
  distillation: float = setting(
    0.0, "coefficient of the first tower's loss against the mean of the others", least=0
  )


class Reaction(nn.Module):
  """Towers on one input. The first has the names, thus the start and the noise, of a dense MLP."""

  config: Config
  inputs: Inputs

  @nn.compact
  def __call__(self, rows: Rows, weight_B: jax.Array | None = None, *, train: bool) -> jax.Array:
    cfg = self.config
    x_NxB = layers.Input(cfg, name='input')(rows['embedding'], weight_B, train=train)
    towers_of = {'branches': self._branches, 'soup': self._soup}
    form = towers_of.get(cfg.options.merge, self._towers)
    logits_BxT, towers = form(x_NxB, weight_B, train)

    features = self._of_one_width(towers)
    if train:
      weight_B = jnp.ones(x_NxB.shape[1]) if weight_B is None else weight_B
      self._sow_logits_and_losses(towers, features, weight_B)
    return logits_BxT

  def _towers(
    self, x_NxB: jax.Array, weight_B: jax.Array | None, train: bool
  ) -> tuple[jax.Array, list[towers_lib.Tower]]:
    """Towers that start from weights of their own."""
    cfg = self.config
    towers = [towers_lib.tower(cfg, self.inputs.tasks, x_NxB, weight_B, train)]
    for k, own in enumerate(tower_merge.of_towers(cfg)[1:], 1):
      towers.append(
        towers_lib.MLP(own, self.inputs.tasks, name=f'other_{k}')(x_NxB, weight_B, train)
      )
    if train or cfg.options.merge == 'drop':
      return towers[0].logits_BxT, towers
    return jnp.mean(jnp.stack([tower.logits_BxT for tower in towers]), 0), towers

  def _soup(
    self, x_NxB: jax.Array, weight_B: jax.Array | None, train: bool
  ) -> tuple[jax.Array, list[towers_lib.Tower]]:
    """Towers that start from the same weights, stacked along an axis; noise is each one's own."""
    cfg = self.config
    stack = nn.vmap(
      towers_lib.MLP,
      in_axes=None,
      axis_size=cfg.options.towers,
      variable_axes={'params': 0},
      split_rngs={'params': False, 'dropout': True},
    )
    stacked = stack(cfg, self.inputs.tasks, name='towers')(x_NxB, weight_B, train)
    towers = [jax.tree.map(operator.itemgetter(k), stacked) for k in range(cfg.options.towers)]
    if train:
      return towers[0].logits_BxT, towers
    mean = tower_merge.mean(self.variables['params']['towers'])
    soup = towers_lib.MLP(cfg, self.inputs.tasks, parent=None).apply(
      {'params': mean}, x_NxB, None, False
    )
    return soup.logits_BxT, towers

  def _branches(
    self, x_NxB: jax.Array, weight_B: jax.Array | None, train: bool
  ) -> tuple[jax.Array, list[towers_lib.Tower]]:
    """One tower of branched layers; its branches stand for towers."""
    cfg = self.config
    by_layer = []
    for i in range(cfg.depth):
      y_HxB, branches = towers_lib.Branched(cfg, name=f'layer_{i}')(x_NxB, weight_B, train)
      by_layer.append(branches)
      drop = layers.Dropout(cfg.dropout, cfg.batch_size, name=f'dropout_{i}')
      x_NxB = drop(nn.relu(y_HxB), train=train)
    logits_BxT = layers.Head(cfg.head_hidden, self.inputs.tasks, name='head')(x_NxB)
    return logits_BxT, [towers_lib.Tower(list(own)) for own in zip(*by_layer, strict=True)]

  def _of_one_width(self, towers: Sequence[towers_lib.Tower]) -> list[list[jax.Array]]:
    """Features of each tower, as wide as the first's: through linear layers of training alone."""
    width = self.config.width
    features = []
    for k, tower in enumerate(towers):
      own = tower.features
      if own[0].shape[0] != width and fusion_losses.names(self.config.options):
        own = [layers.Linear(width, name=f'align_{k}_{i}')(x) for i, x in enumerate(own)]
      features.append(own)
    return features

  def _sow_logits_and_losses(
    self, towers: Sequence[towers_lib.Tower], features: list[list[jax.Array]], weight_B: jax.Array
  ) -> None:
    """Together: sum_k (CE_k + alpha L_spatial + beta L_relational + gamma L_contrastive)."""
    options = self.config.options
    others = [tower.logits_BxT for tower in towers[1:]]
    if options.merge != 'branches':
      for k, logits_BxT in enumerate(others, 1):
        self.sow('logits', f'tower_{k}', logits_BxT)

    for name, loss in fusion_losses.terms(options, features, weight_B).items():
      self.sow('losses', name, loss)
    if options.distillation:
      loss = fusion_losses.distillation(towers[0].logits_BxT, others, weight_B)
      self.sow('losses', 'distillation', options.distillation * loss)


def terms(cfg: Config) -> tuple[str, ...]:
  """What the loss has besides the cross-entropy of the first tower."""
  options = cfg.options
  towers = options.towers if options.merge != 'branches' else 1
  logits = tuple(f'tower_{k}' for k in range(1, towers))
  taught = ('distillation',) if options.distillation else ()
  return (*logits, *fusion_losses.names(options), *taught)


def cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """Of the merged tower; of `block`, zeros outside of the blocks are idle."""
  merged = dense_mlp.cost(tower_merge.served_config(cfg), inputs)
  if cfg.options.merge != 'block':
    return merged
  blocks = flops.total(
    dense_mlp.cost(dataclasses.replace(own, hidden_norm='none'), inputs)
    for own in tower_merge.of_towers(cfg)
  )
  shared = (cfg.options.towers - 1) * inputs.tasks  # biases of the head: the towers have one
  return flops.Cost(merged.params, blocks.flops, merged.params - (blocks.params - shared))


def trained_cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  """Of all towers or branches, and of what makes features of towers equally wide."""
  if cfg.options.merge == 'branches':
    return _branches_cost(cfg, inputs)
  towers = tower_merge.of_towers(cfg)
  align = flops.total(
    cfg.depth * flops.linear(own.width, cfg.width)
    for own in towers
    if own.width != cfg.width and fusion_losses.names(cfg.options)
  )
  return flops.total(dense_mlp.cost(own, inputs) for own in towers) + align


def _branches_cost(cfg: Config, inputs: Inputs) -> flops.Cost:
  rank = cfg.options.branch_rank
  low = flops.Cost(0, 0)
  for size in (inputs.size, *(cfg.width,) * (cfg.depth - 1)):
    if rank:
      low += flops.linear(size, rank) + flops.linear(rank, cfg.width)
  head = layers.head_cost(cfg.width, cfg.head_hidden, inputs.tasks)
  return cfg.options.towers * layers.hidden_cost(inputs.size, cfg) + low + head


def check(cfg: Config) -> None:
  """Raises ValueError naming settings that do not go together."""
  options = cfg.options
  if cfg.depth < 1:
    raise ValueError(f'depth={cfg.depth}: expected at least 1, a tower has layers')
  if cfg.sparsity != 'none':
    raise ValueError(
      f'sparsity={cfg.sparsity}: expected none, masks would be counted over all towers'
    )
  _check_losses(cfg)
  widths = options.tower_widths
  if widths and len(widths) != options.towers - 1:
    shown = ','.join(map(str, widths))
    raise ValueError(
      f'tower_widths={shown}: expected {options.towers - 1} widths, of the towers beside the first'
    )
  if options.merge in ('branches', 'soup') and set(widths) - {cfg.width}:
    raise ValueError(f'merge={options.merge}: needs towers of one width; leave tower_widths empty')
  refused = {'drop': (), 'branches': ('layer',), 'block': ('layer',), 'soup': ('batch',)}
  if cfg.hidden_norm in refused[options.merge]:
    raise ValueError(
      f'hidden_norm={cfg.hidden_norm}: merge={options.merge} has no one tower that computes it'
    )


def _check_losses(cfg: Config) -> None:
  """Raises ValueError for a loss that would have nothing to compare, or of which none is read."""
  options = cfg.options
  on = fusion_losses.names(options)
  if options.distillation and options.merge != 'drop':
    raise ValueError(
      f'distillation={options.distillation}: expected 0 with merge={options.merge}; '
      'the first tower is taught where it is the one that is served'
    )
  for name in (*on, 'distillation') if options.towers == 1 else ():
    if getattr(options, name):
      raise ValueError(f'{name}={getattr(options, name)}: expected 0, there is no other tower')
  maps = [name for name in on if name != 'contrastive']
  if maps and cfg.width % options.groups:
    raise ValueError(
      f'groups={options.groups}: expected a divisor of width={cfg.width} with {maps[0]} above 0'
    )
  if options.relational and cfg.depth * options.groups < 2:
    raise ValueError(
      f'relational={options.relational}: expected 0 with one position, groups=1 of depth=1'
    )


ARCHITECTURE = Architecture(
  Reaction,
  cost,
  Options,
  check=check,
  merge=tower_merge.merge,
  trained_cost=trained_cost,
  terms=terms,
)
