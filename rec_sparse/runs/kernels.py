"""The kernels of a restored network, of whatever model: what its marks say decays."""

import re
from typing import Any, NamedTuple

import jax
import numpy as np

from rec_sparse import models
from rec_sparse import train
from rec_sparse.analysis import view_diversity
from rec_sparse.models.marks import Mark
from rec_sparse.runs import restored
from rec_sparse.sparsity import static_filter


class Kernel(NamedTuple):
  """A weight matrix or a stack of them."""

  weights: np.ndarray  # (..., N, H); of fewer axes, a column
  mark: Mark


def marks(run: restored.Restored) -> Any:
  """A Mark for each dense parameter, in the tree of the parameters.

  Raises Unavailable where no parameter is a kernel.
  """
  program = train.program(run.config, run.schema)
  constants = train.draw_constants(run.config, run.schema, [run.config.seed])
  found = train.marks(program, train.unstack(constants, 0))
  if not any(mark.decays for mark in jax.tree.leaves(found, is_leaf=_is_mark)):
    raise restored.Unavailable(
      f'{run.config.model}: none of its parameters is marked as a kernel, one that decays '
      '(rec_sparse/models/marks.py)'
    )
  return found


def _is_mark(leaf: Any) -> bool:
  return isinstance(leaf, Mark)


def of(run: restored.Restored, dense: dict[str, Any]) -> dict[str, Kernel]:
  """Every kernel of the item `dense`, from input to head: 'layer_0', 'filter_0/value_kernel',
  'head/linear'.

  Without the rows that a filter leaves out. Raises Unavailable where no parameter is a kernel.
  """
  found = {}

  def collect(path: Any, weights: jax.Array, mark: Mark) -> None:
    if mark.decays:
      found[name_of(path)] = Kernel(_at_least_a_column(np.asarray(weights)), mark)

  jax.tree.map_with_path(collect, dense['params'], marks(run))
  for name, mask_VxN in acting(run, dense.get('moving', {})).items():
    kept_VxK = view_diversity.indices(mask_VxN)
    weights_VxKxH = np.take_along_axis(found[name].weights, kept_VxK[..., None], 1)
    found[name] = found[name]._replace(weights=weights_VxKxH)
  return {name: found[name] for name in sorted(found, key=place)}


def acting(run: restored.Restored, moving: dict[str, Any]) -> dict[str, np.ndarray]:
  """Kernel -> mask_VxN: the rows that it acts with, of those that a filter leaves some out of."""
  return models.find(run.config.model).kept_inputs(run.config, moving)


def static_filters(run: restored.Restored, dense: dict[str, Any]) -> dict[str, tuple]:
  """Layer -> (indices_VxK, N): which of N inputs its views keep, of every StaticFilter among the
  constants; where a filter was learned, what it keeps now.
  """
  kept = acting(run, dense.get('moving', {}))
  drawn = train.draw_constants(run.config, run.schema, [run.config.seed])
  found = {}
  for name, constant in drawn.items():
    if isinstance(constant, static_filter.StaticFilter):
      own = dense['constants'][name]
      indices_VxK = view_diversity.indices(kept[name]) if name in kept else own['indices_VxK']
      found[name] = np.asarray(indices_VxK), len(own['inverse_NxM'])
  return found


def name_of(path: Any) -> str:
  """Modules and parameter; one that is called `kernel` goes by its module."""
  *modules, last = (part.key for part in path)
  return '/'.join(modules if modules and last == 'kernel' else (*modules, last))


def _at_least_a_column(weights: np.ndarray) -> np.ndarray:
  return weights.reshape(-1, 1) if weights.ndim < 2 else weights


def place(name: str) -> tuple[bool, list[int], str]:
  """Sorts layers by their numbers, then what has none, then the head."""
  numbers = [int(digits) for digits in re.findall(r'_(\d+)', name)]
  return name.startswith('head'), numbers or [10**9], name
