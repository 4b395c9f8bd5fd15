"""Compact kernels (sparsity/compact.py) in a network that is deployed, in the place of its layers'.

A layer is any `layers.Linear`, whatever architecture has it: where its kernel has enough zeros. The
other kernels (views, crosses) stay dense.
"""

from collections.abc import Callable, Mapping
import contextlib
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from rec_sparse.models import layers
from rec_sparse.sparsity import compact as compact_lib
from rec_sparse.sparsity.compact import Compact

Compacts = Mapping[str, Compact]  # by the path of the layer


def find(forward: Callable[[], Any]) -> dict[str, Compact]:
  """The compact kernels of the layers that `forward` runs, where they pay.

  `forward` is not compiled: its kernels are numbers, with the norms that are folded into them.
  """
  kernels = {}

  def note(path: str, kernel_NxH: jax.Array, x_NxB: jax.Array) -> None:
    del x_NxB
    if not isinstance(kernel_NxH, jax.core.Tracer):
      kernels[path] = np.asarray(kernel_NxH)

  with _products(note):
    forward()
  chosen = {path: compact_lib.choose(kernel_NxH) for path, kernel_NxH in kernels.items()}
  return {path: compact for path, compact in chosen.items() if compact is not None}


def use(compacts: Compacts) -> contextlib.AbstractContextManager:
  """Layers that are run inside have these kernels, and do not look at their own."""

  def instead(path: str, kernel_NxH: jax.Array, x_NxB: jax.Array) -> jax.Array | None:
    del kernel_NxH
    return compact_lib.product(compacts[path], x_NxB) if path in compacts else None

  return _products(instead)


def _products(instead: Callable) -> contextlib.AbstractContextManager:
  """`instead(path, kernel, x)` at each product of a layer; None: the dense one."""

  def intercepted(product: Callable, args: Any, kwargs: Any, context: Any) -> Any:
    if not isinstance(context.module, layers.Linear) or context.method_name != 'product':
      return product(*args, **kwargs)
    found = instead('/'.join(context.module.path), *args)
    return product(*args, **kwargs) if found is None else found

  return nn.intercept_methods(intercepted)
