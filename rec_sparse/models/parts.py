"""What several of the baselines share beyond `layers.py`: stacks with names, layers of many views.

Feature-major, as all of it: x_NxB, and x_VxNxB where there are V fields, tokens or experts.
"""

import flax.linen as nn
import jax

from rec_sparse import flops
from rec_sparse.config import Config
from rec_sparse.models import layers
from rec_sparse.models.architecture import Inputs


class Hidden(nn.Module):
  """`layers.hidden` under a name of its own, for models of several stacks of layers."""

  config: Config
  widths: tuple[int, ...] | None = None  # units of each layer; None: `depth` layers of `width`

  @nn.compact
  def __call__(
    self, x_NxB: jax.Array, weight_B: jax.Array | None = None, *, train: bool
  ) -> jax.Array:
    return layers.hidden(self.config, x_NxB, weight_B, self.widths, train=train)


class LinearPerView(nn.Module):
  """`layers.linear_per_view` as a module."""

  features: int  # H

  @nn.compact
  def __call__(self, x_VxNxB: jax.Array) -> jax.Array:
    return layers.linear_per_view(self, x_VxNxB, self.features)


class Across(nn.Module):
  """y_HxDxB = W^T x_VxDxB + bias: a `Linear` layer of views, the same at every d."""

  features: int  # H
  bias: bool = True

  @nn.compact
  def __call__(self, x_VxDxB: jax.Array) -> jax.Array:
    views, dim, batch = x_VxDxB.shape
    linear = layers.Linear(self.features, bias=self.bias, name='linear')
    return linear(x_VxDxB.reshape(views, dim * batch)).reshape(self.features, dim, batch)


class Within(nn.Module):
  """y_VxHxB = W^T x_VxDxB + bias: a `Linear` layer of dimensions, the same in all views."""

  features: int  # H
  bias: bool = True

  @nn.compact
  def __call__(self, x_VxDxB: jax.Array) -> jax.Array:
    across = Across(self.features, self.bias, name='across')
    return across(x_VxDxB.swapaxes(0, 1)).swapaxes(0, 1)


def first_order_cost(inputs: Inputs) -> flops.Cost:
  """Sums of first-order weights, which lie in the table."""
  return flops.Cost(params=0, flops=(inputs.fields - 1) * inputs.tasks)


def per_view_cost(views: int, inputs: int, outputs: int) -> flops.Cost:
  """What `LinearPerView` costs."""
  return views * flops.linear(inputs, outputs)


def shared_cost(times: int, inputs: int, outputs: int, *, bias: bool = True) -> flops.Cost:
  """What `Across` and `Within` cost that use one kernel `times` times."""
  once = flops.linear(inputs, outputs, bias=bias)
  return flops.Cost(once.params, times * once.flops)


def check_has_no_hidden(cfg: Config) -> None:
  """Raises ValueError when a model without stacks of ReLU layers is told to normalize them."""
  if cfg.hidden_norm != 'none':
    raise ValueError(
      f'hidden_norm={cfg.hidden_norm}: {cfg.model} has no layers that it is for; expected none'
    )


def check_reads_rows_alone(cfg: Config) -> None:
  """Raises ValueError when a model without any layers is told of some."""
  check_has_no_hidden(cfg)
  check_has_no_head(cfg)


def check_has_no_head(cfg: Config) -> None:
  """Raises ValueError when a model without a head is told of layers in it."""
  if cfg.head_hidden:
    widths = ','.join(map(str, cfg.head_hidden))
    raise ValueError(f'head_hidden={widths}: {cfg.model} has no head; expected none')
