"""Where the dense parameters live: their marks say how the mesh axis `model` splits them.

What a layer holds per view is split by views (`kernel_VxNxH`, `gamma_VxK`): a device filters, fuses
and normalizes its own views alone, and a layer's outputs meet once, where the next layer reads all
of them. A large kernel without views (`kernel_NxH`) is split by its outputs. What sizes do not
divide, and the rest, is on each device. Optimizer moments lie where their parameters are; the
products follow their kernels, by XLA.
"""

import math
from typing import Any

import jax
from jax import P

from rec_sparse.models.marks import Mark

# numbers of a kernel without views; a smaller one saves less than the exchange of activations costs
MIN_SPLIT = 2**14


def shardings(tree: Any, marks: Any, mesh: jax.sharding.Mesh) -> Any:
  """A sharding for each leaf of `tree`, the parameters that `marks` are of."""

  def sharding(leaf: Any, mark: Mark) -> jax.NamedSharding:
    return jax.NamedSharding(mesh, _spec(leaf.shape, mark, mesh.shape['model']))

  return jax.tree.map(sharding, tree, marks)


def _spec(shape: tuple[int, ...], mark: Mark, parts: int) -> P:
  if parts == 1:
    return P()
  for axis, meaning in enumerate(mark.axes):
    is_split = meaning == 'views' or meaning == 'outputs' and math.prod(shape) >= MIN_SPLIT
    if is_split and shape[axis] % parts == 0:
      return P(*[None] * axis, 'model')
  return P()
