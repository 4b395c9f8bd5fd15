"""How a step moves the dense parameters, and how fast anything moves at it.

Adam's direction, decay of the parameters that say so, one clipping for the gradients of parameters
and rows, and the schedule of the rates. The rows of the table have optimizers of their own
(rec_sparse/embedding).
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from rec_sparse.config import Config
from rec_sparse.models.marks import Mark


def dense() -> optax.GradientTransformation:
  """Gradients -> Adam's directions, to be multiplied by the learning rate and subtracted."""
  return optax.scale_by_adam()


def with_decay(directions: Any, params: Any, marks: Any, weight_decay: Any) -> Any:
  """Adds `weight_decay` times the parameter where its mark says that it decays (decoupled)."""

  def direction(direction: jax.Array, param: jax.Array, mark: Mark) -> jax.Array:
    return direction + weight_decay * param if mark.decays else direction

  return jax.tree.map(direction, directions, params, marks)


def clip_scale(clip_norm: Any, grads: Any, squared_rows: jax.Array) -> jax.Array:
  """What all gradients of a step are multiplied by, so that their norm is at most `clip_norm`.

  The norm is that of the gradient of the loss by all parameters and by the whole table together, as
  optax.clip_by_global_norm and torch's clip_grad_norm_ take it: `squared_rows` is the table's part,
  where a row that occurs several times in a batch counts once, with the sum of its gradients
  (duplicates.squared_norm). No kind of decay is counted.
  """
  norm = jnp.sqrt(optax.tree.norm(grads, squared=True) + squared_rows)
  return jnp.minimum(1, clip_norm / jnp.maximum(norm, 1e-12))


def rate(config: Config, last: int, step: jax.Array, rate_scale: jax.Array) -> jax.Array:
  """The learning rate at `step`, from 0, of a run of `last` steps.

  warmup_*: from learning_rate / (warmup_steps + 1) up to learning_rate, then along half a cosine or
  a line down to rate_floor times it at the last step. plateau: learning_rate times `rate_scale`,
  which `after_validation` moves. `config` may hold arrays.
  """
  if config.schedule == 'constant':
    return config.learning_rate
  if config.schedule == 'plateau':
    return config.learning_rate * rate_scale
  steps = step.astype(jnp.float32)
  rising = jnp.minimum(1, (steps + 1) / (config.warmup_steps + 1))
  falling_steps = max(last - 1 - config.warmup_steps, 1)
  done = jnp.clip((steps - config.warmup_steps) / falling_steps, 0, 1)
  if config.schedule == 'warmup_cosine':
    left = (1 + jnp.cos(jnp.pi * done)) / 2
  else:
    left = 1 - done
  return config.learning_rate * rising * (config.rate_floor + (1 - config.rate_floor) * left)


def after_validation(config: Config, rate_scale: jax.Array, is_better: Any) -> jax.Array:
  """The scale of the rates after a validation that was better than all before it, or was not.

  Only schedule=plateau moves it: down by plateau_factor at each that was not, to rate_floor at
  least. `rate_scale` and `is_better` may have an entry per trial, and `config` as well.
  """
  if config.schedule != 'plateau':
    return rate_scale
  lower = jnp.maximum(rate_scale * config.plateau_factor, config.rate_floor)
  return jnp.where(is_better, rate_scale, lower).astype(jnp.float32)
