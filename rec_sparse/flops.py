"""Analytic parameters, and forward FLOPs per example of kept connections only.

FLOPs are 2 x multiply-accumulates of the matrix products (SSR's convention) plus the gate of SSR-D;
biases, activations and normalizations, O(width) each, are left out. Embedding tables and the shared
input normalization are not counted here: a study reports them apart.
"""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses


@dataclasses.dataclass(frozen=True)
class Cost:
  """What a piece of network costs."""

  params: int  # trainable numbers
  flops: int  # forward, per example
  # of the trainable numbers, those without effect in the trained network: masked weights, their
  # scores
  idle: int = 0

  def __add__(self, other: Cost) -> Cost:
    return Cost(self.params + other.params, self.flops + other.flops, self.idle + other.idle)

  def __rmul__(self, times: int) -> Cost:
    return Cost(times * self.params, times * self.flops, times * self.idle)


def linear(inputs: int, outputs: int, *, bias: bool = True) -> Cost:
  """A dense layer."""
  return Cost(inputs * outputs + bias * outputs, 2 * inputs * outputs)


def norm(features: int) -> Cost:
  """A normalization's gain and bias."""
  return Cost(2 * features, 0)


def total(costs: Iterable[Cost]) -> Cost:
  """Their sum."""
  return sum(costs, Cost(0, 0))
