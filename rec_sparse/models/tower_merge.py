"""What training leaves of several towers (`reaction.py`) as one dense MLP, on the host.

`drop` keeps the weights of a tower and `soup` has means of weights, as evaluations have: the same
bits. `branches` and `block` are summed in float64: the logits of evaluations but for rounding.
Batch normalizations go into kernels, by the averages that evaluations use.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from rec_sparse.config import Config
from rec_sparse.config import NoOptions
from rec_sparse.models import folded
from rec_sparse.models import norms
from rec_sparse.models.architecture import Inputs
from rec_sparse.models.architecture import Served
from rec_sparse.models.architecture import Variables
from rec_sparse.models.dense_mlp import DenseMLP

Tree = Mapping[str, Any]  # parameters or averages, by the names of modules


class _Affine(NamedTuple):
  """A linear layer, float64."""

  kernel_NxH: np.ndarray
  bias_H: np.ndarray


def of_towers(cfg: Config) -> list[Config]:
  """The config of each tower; they differ in width."""
  beside = cfg.options.tower_widths or (cfg.width,) * (cfg.options.towers - 1)
  return [dataclasses.replace(cfg, width=width) for width in (cfg.width, *beside)]


def served_config(cfg: Config) -> Config:
  """The config of the dense MLP that towers are merged to."""
  norm = 'none' if cfg.hidden_norm == 'batch' else cfg.hidden_norm
  merged = dataclasses.replace(cfg, model='dense_mlp', options=NoOptions(), hidden_norm=norm)
  if cfg.options.merge != 'block':
    return merged
  widths = [own.width for own in of_towers(cfg)]
  head_hidden = tuple(len(widths) * width for width in cfg.head_hidden)
  return dataclasses.replace(merged, width=sum(widths), head_hidden=head_hidden)


def merge(cfg: Config, inputs: Inputs, variables: Variables) -> Served:
  """The merged tower of a trained network: a dense MLP and its variables."""
  merged = served_config(cfg)
  if cfg.options.merge == 'drop':
    kept = ('input', 'head', *layer_names(cfg))
    first = {name: _only(kept, own) for name, own in variables.items()}
    trained = dataclasses.replace(merged, hidden_norm=cfg.hidden_norm)
    return folded.serve(DenseMLP, trained, inputs, first)

  by_form = {'branches': _of_branches, 'block': _of_blocks, 'soup': _of_soup}
  made = by_form[cfg.options.merge](cfg, variables['params'], variables.get('batch_stats', {}))
  shared = {name: _only(('input',), own) for name, own in variables.items()}
  return Served(DenseMLP(merged, inputs), shared | {'params': shared['params'] | made})


def layer_names(cfg: Config) -> tuple[str, ...]:
  """Of the hidden layers of a tower."""
  return tuple(f'layer_{i}' for i in range(cfg.depth))


def _only(names: Iterable[str], collection: Tree) -> Tree:
  return {name: own for name, own in collection.items() if name in names}


def mean(stacked: Tree) -> Tree:
  """The mean over the leading axis of each leaf."""
  return jax.tree.map(lambda leaf: jnp.mean(leaf, 0), stacked)


def _of_soup(cfg: Config, params: Tree, averages: Tree) -> Tree:
  del cfg, averages
  return mean(params['towers'])


def _of_branches(cfg: Config, params: Tree, averages: Tree) -> Tree:
  made = {'head': params['head']}
  for name in layer_names(cfg):
    own = params[name]
    of_layer = averages.get(name, {})
    branches = [
      _affine(own[branch], of_layer.get(branch)) for branch in own if branch.startswith('branch_')
    ]
    kernel_NxH = np.mean([branch.kernel_NxH for branch in branches], 0)
    bias_H = np.mean([branch.bias_H for branch in branches], 0)
    if 'down' in own:
      down, up = _affine(own['down']), _affine(own['up'])
      kernel_NxH += down.kernel_NxH @ up.kernel_NxH
      bias_H += down.bias_H @ up.kernel_NxH + up.bias_H
    made[name] = _float32(_Affine(kernel_NxH, bias_H))
  return made


def _of_blocks(cfg: Config, params: Tree, averages: Tree) -> Tree:
  others = [f'other_{k}' for k in range(1, cfg.options.towers)]
  towers = [params, *[params[name] for name in others]]
  statistics = [averages, *[averages.get(name, {}) for name in others]]

  made = {}
  for i, name in enumerate(layer_names(cfg)):
    own = [
      _affine(tower[name], of_tower.get(name))
      for tower, of_tower in zip(towers, statistics, strict=True)
    ]
    made[name] = _float32(_side_by_side(own) if i == 0 else _blocks(own))
  made['head'] = {
    name: _float32(_blocks([_affine(tower['head'][name]) for tower in towers]))
    for name in params['head']
    if name != 'linear'
  }
  last = [_affine(tower['head']['linear']) for tower in towers]
  kernel_NxH = np.concatenate([own.kernel_NxH for own in last]) / len(towers)
  bias_H = np.mean([own.bias_H for own in last], 0)
  made['head']['linear'] = _float32(_Affine(kernel_NxH, bias_H))
  return made


def _side_by_side(own: Sequence[_Affine]) -> _Affine:
  """Of one input, outputs one after another."""
  kernel_NxH = np.concatenate([affine.kernel_NxH for affine in own], 1)
  return _Affine(kernel_NxH, np.concatenate([affine.bias_H for affine in own]))


def _blocks(own: Sequence[_Affine]) -> _Affine:
  """Each of its own inputs: zeros outside of the blocks."""
  kernel_NxH = scipy.linalg.block_diag(*[affine.kernel_NxH for affine in own])
  return _Affine(kernel_NxH, np.concatenate([affine.bias_H for affine in own]))


def _affine(params: Tree, averages: Tree | None = None) -> _Affine:
  """A `layers.Linear` as evaluations compute it, its batch normalization in its kernel."""
  kernel_NxH = np.asarray(params['kernel'], np.float64)
  bias_H = np.asarray(params['bias'], np.float64)
  if averages is None:
    return _Affine(kernel_NxH, bias_H)
  norm = {name: np.asarray(leaf, np.float64) for name, leaf in params['norm'].items()}
  mean_H = np.asarray(averages['norm']['mean'], np.float64)
  variance_H = np.asarray(averages['norm']['var'], np.float64)
  gain_H = norm['scale'] / np.sqrt(variance_H + norms.HIDDEN_EPSILON)
  return _Affine(kernel_NxH * gain_H, (bias_H - mean_H) * gain_H + norm['bias'])


def _float32(affine: _Affine) -> Tree:
  return {
    'kernel': affine.kernel_NxH.astype(np.float32),
    'bias': affine.bias_H.astype(np.float32),
  }
