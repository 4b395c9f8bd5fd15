"""When masks change, and how much of them, along a run: of dense kernels and of the table."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rec_sparse.config import Config

FLOOR = 0.005  # the share that dsl exchanges never falls below (its official code)


class Schedule(NamedTuple):
  """When masks change, in steps of the run."""

  first: int  # dense before it (magnitude, gradual, rewind)
  every: int
  end: int  # no change at or after it; gradual, rewind: the last one is there
  share: float  # of what is kept that an exchange replaces at the start


IsDue = Callable[[Schedule, jax.Array], jax.Array]  # step -> whether masks change at it


def of_run(config: Config, last: int) -> Schedule:
  """What `config` says for a run of `last` steps, of which one comes after the last change."""
  return Schedule(
    first=max(min(round(config.mask_from * last), last - 1), 0),
    every=config.mask_every,
    end=max(min(round(config.mask_until * last), last - 1), 1),
    share=config.mask_share,
  )


def never(schedule: Schedule, step: jax.Array) -> jax.Array:
  """Of rules whose masks stay what they are at the start."""
  del schedule
  return jnp.zeros_like(step, bool)


def at_start(schedule: Schedule, step: jax.Array) -> jax.Array:
  """Before the first update."""
  del schedule
  return step == 0


def once(schedule: Schedule, step: jax.Array) -> jax.Array:
  """At `first`."""
  return step == schedule.first


def periodic(schedule: Schedule, step: jax.Array) -> jax.Array:
  """Every `every` steps, up to `end`."""
  return (step > 0) & (step % schedule.every == 0) & (step < schedule.end)


def falling(schedule: Schedule, step: jax.Array) -> jax.Array:
  """Every `every` steps from `first` on, and at `end`."""
  is_inside = (step >= schedule.first) & (step < schedule.end)
  is_turn = step % schedule.every == 0
  return (is_inside & is_turn) | (step == schedule.end)


def after_first(schedule: Schedule, step: jax.Array) -> jax.Array:
  """As `falling`, without `first`."""
  return falling(schedule, step) & (step > schedule.first)


def settled(is_due: IsDue, schedule: Schedule) -> int:
  """After how many steps as many are kept as at the end."""
  if is_due is once:
    return schedule.first + 1
  if is_due in (falling, after_first):
    return schedule.end + 1
  return 0


def done(schedule: Schedule, step: jax.Array) -> jax.Array:
  """The share of the way from `first` to `end`."""
  steps = (step - schedule.first).astype(jnp.float32)
  return jnp.clip(steps / max(schedule.end - schedule.first, 1), 0, 1)


def thinned(schedule: Schedule, step: jax.Array) -> jax.Array:
  """Of what is left out at `end`, the share that is already: a cubic curve from `first` on."""
  return 1 - (1 - done(schedule, step)) ** 3


def share(schedule: Schedule, step: jax.Array) -> jax.Array:
  """Of what is kept, replaced at `step`: from `share` down along half a cosine."""
  done = jnp.clip(step.astype(jnp.float32) / schedule.end, 0, 1)
  return schedule.share * (1 + jnp.cos(jnp.pi * done)) / 2


def share_with_floor(schedule: Schedule, step: jax.Array) -> jax.Array:
  """As `share`, but down to FLOOR."""
  most = schedule.share
  return FLOOR + (most - FLOOR) * share(schedule, step) / most
