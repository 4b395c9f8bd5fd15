"""What a parameter says of itself where it is made: how devices share it, and whether it decays.

A parameter without a mark lies on every device and does not decay.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from flax import struct
import flax.linen as nn
import jax


class Mark(NamedTuple):
  """Of one parameter."""

  # 'views': devices have views of their own; 'outputs': they have columns of a large kernel.
  axes: tuple[str | None, ...] = ()  # meaning of the leading axes; None: not split
  decays: bool = False  # whether `weight_decay` shrinks it: a kernel, (..., inputs, outputs)
  # Of a stack of kernels: whether all of them read the same inputs; else each reads its own.
  shared_inputs: bool = False


class Marked(struct.PyTreeNode, nn.meta.AxisMetadata):
  """A parameter as its initializer gives it; linen hands its value to the module."""

  value: Any
  mark: Mark = struct.field(pytree_node=False)

  def unbox(self) -> Any:
    """The parameter itself."""
    return self.value

  def replace_boxed(self, val: Any) -> 'Marked':
    """Another value with the same mark."""
    return self.replace(value=val)

  def add_axis(self, index: int, params: dict[Any, Any]) -> 'Marked':
    """Of a lifted transform of linen, such as nn.vmap: the new axis is not split."""
    del params
    axes = list(self.mark.axes)
    axes.insert(index, None)
    return self.replace(mark=self.mark._replace(axes=tuple(axes)))

  def remove_axis(self, index: int, params: dict[Any, Any]) -> 'Marked':
    """The inverse of `add_axis`."""
    del params
    axes = self.mark.axes[:index] + self.mark.axes[index + 1 :]
    return self.replace(mark=self.mark._replace(axes=axes))


def marked(
  init: Callable, *axes: str | None, decays: bool = False, shared_inputs: bool = False
) -> Callable:
  """`init` of a parameter that says what its leading axes mean and whether it decays.

  What decays is a kernel: its last two axes are inputs and outputs. Raises ValueError for a meaning
  that devices do not know.
  """
  for meaning in axes:
    if meaning not in (None, 'views', 'outputs'):
      raise ValueError(f'{meaning!r}: an axis of a parameter is split by views or by outputs')

  def boxed(*args: Any) -> Marked:
    return Marked(init(*args), Mark(axes, decays, shared_inputs))

  return boxed


def read(boxed: Any) -> Any:
  """A Mark for each parameter of a tree as `init` gives it."""

  def mark(leaf: Any) -> Mark:
    return leaf.mark if isinstance(leaf, Marked) else Mark()

  return jax.tree.map(mark, boxed, is_leaf=lambda leaf: isinstance(leaf, Marked))
