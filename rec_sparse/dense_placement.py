"""Where the dense parameters live: one rule splits them over the mesh axis `model`, as far as their
sizes divide.

What a layer holds per view is split by views (`kernel_VxNxH`, `gamma_VxK`): a device filters, fuses
and normalizes its own views alone, and a layer's outputs meet once, where the next layer reads all
of them. A large kernel without views (`kernel_NxH`) is split by its outputs. The rest is on each
device. Optimizer moments have the names and shapes of their parameters, so the same rule puts them
where those are; the products follow their kernels, by XLA.
"""

import math
from typing import Any

import jax
from jax import P

# numbers of a kernel without views; a smaller one saves less than the exchange of activations costs
MIN_SPLIT = 2**14


def shardings(tree: Any, mesh: jax.sharding.Mesh) -> Any:
  """A sharding for each leaf of `tree`: parameters, or the optimizer's state of them."""
  return jax.tree.map_with_path(
    lambda path, leaf: jax.NamedSharding(
      mesh, _spec(str(path[-1]), leaf.shape, mesh.shape['model'])
    ),
    tree,
  )


def _spec(name: str, shape: tuple[int, ...], parts: int) -> P:
  kernel = name.endswith("kernel']")
  if len(shape) >= 2 + kernel:
    axis = 0  # counts views
  elif kernel and math.prod(shape) >= MIN_SPLIT:
    axis = len(shape) - 1
  else:
    return P()
  return P() if parts == 1 or shape[axis] % parts else P(*[None] * axis, 'model')
