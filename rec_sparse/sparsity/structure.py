"""Which weights of a kernel are kept or dropped as one, and how they share out its budget.

none   every weight by itself, the whole kernel one group
block  blocks of inputs times outputs, the whole kernel one group; as large as divides the kernel
n_m    N of every M inputs that follow one another, for every output: groups of M weights

A rule sees units: a kernel's scores summed over each, as an array (groups, units). Every group
keeps as many units.
"""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp


class Structure(NamedTuple):
  """Of all kernels of a network."""

  kind: Literal['none', 'n_m', 'block'] = 'none'
  group: int = 4  # n_m: M, inputs of a group
  block: int = 16  # block: most inputs, and most outputs, of one


UNSTRUCTURED = Structure()


class Grid(NamedTuple):
  """The units of one kernel."""

  shape: tuple[int, ...]  # of the kernel, (..., inputs, outputs)
  inputs: int  # of a unit
  outputs: int  # of a unit
  members: int  # units of a group; they follow one another along the inputs, if not all are one

  @property
  def weights(self) -> int:
    """Of a unit."""
    return self.inputs * self.outputs

  @property
  def groups(self) -> int:
    """Of the kernel."""
    return math.prod(self.shape) // (self.weights * self.members)

  @property
  def step(self) -> int:
    """Weights that the kernel keeps more if every group keeps one unit more."""
    return self.groups * self.weights


def grid(structure: Structure, shape: tuple[int, ...]) -> Grid:
  """The units of a kernel of this shape.

  Raises ValueError where its inputs are no whole number of groups.
  """
  inputs, outputs = shape[-2:]
  if structure.kind == 'n_m':
    if inputs % structure.group:
      raise ValueError(f'has {inputs} inputs, expected a multiple of mask_group={structure.group}')
    return Grid(shape, 1, 1, structure.group)
  most = structure.block if structure.kind == 'block' else 1
  unit = _divisor(inputs, most), _divisor(outputs, most)
  return Grid(shape, *unit, math.prod(shape) // math.prod(unit))


def _divisor(size: int, most: int) -> int:
  """The largest divisor of `size` that is at most `most`."""
  return max(d for d in range(1, most + 1) if size % d == 0)


def units(grid: Grid, values: jax.Array) -> jax.Array:
  """Values of a kernel's weights, summed over each unit: (groups, units)."""
  *stack, inputs, outputs = grid.shape
  parts = (*stack, inputs // grid.inputs, grid.inputs, outputs // grid.outputs, grid.outputs)
  summed = jnp.sum(values.reshape(parts), axis=(-3, -1))
  if grid.groups > 1:
    summed = jnp.swapaxes(summed.reshape(*stack, -1, grid.members, outputs), -1, -2)
  return summed.reshape(grid.groups, grid.members)


def spread(grid: Grid, of_units: jax.Array) -> jax.Array:
  """The inverse of `units` for a mask: what holds of a unit holds of all its weights."""
  *stack, inputs, outputs = grid.shape
  if grid.groups > 1:
    of_units = jnp.swapaxes(of_units.reshape(*stack, -1, outputs, grid.members), -1, -2)
  coarse = of_units.reshape(*stack, inputs // grid.inputs, outputs // grid.outputs)
  return jnp.repeat(jnp.repeat(coarse, grid.inputs, -2), grid.outputs, -1)
