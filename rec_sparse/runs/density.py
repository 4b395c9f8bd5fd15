"""How many of its dense weights does a trained network need? Test loss against their density.

The protocol is ours, for REACTION's claim that 10 % of the dense parameters keep 98.5 % of the
performance (AAAI 2026; how the paper measured it is not public): one-shot global pruning of the
kernels, of the network as it stands and with a short retraining, beside small networks of equal
size that were trained from scratch.
"""

import collections
from collections.abc import Callable
import contextlib
import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from data_pipelines import blocks
from data_pipelines import order
from rec_sparse import train
from rec_sparse.runs import evaluation
from rec_sparse.runs import feeds
from rec_sparse.runs import pruning
from rec_sparse.runs import restored
from rec_sparse.runs import trials
from rec_sparse.scaling import grid

DENSITIES = (1.0, 0.5, 0.25, 0.1, 0.05, 0.02, 0.01)  # from the whole network on
SCORES = {'magnitude': pruning.scores_by_size, 'gradient': pruning.scores_by_gradient}
RETRAINED = '_retrained'  # ends the name of a curve
SMALL = 'small_dense'
NEAR = 0.1  # a small network whose size is off by a larger share than this is not of equal size

Heard = Callable[[str], None]  # is told of each network


class Asked(NamedTuple):
  """What is to be measured besides the network as it stands."""

  retrain_steps: int | None  # 0: none; None: as many as an epoch has
  small: bool  # whether small networks are trained


class Measured(NamedTuple):
  """A network on the validation and the test split."""

  valid: dict[str, float | None]  # logloss and auc, means over tasks; None: undefined
  test: dict[str, float | None]
  logits_ExT: np.ndarray  # of the test split


class Point(NamedTuple):
  """A network of a curve."""

  density: float  # share of the weights that stay
  dense_params: int  # that are left, whatever they are
  measured: Measured
  width: int | None = None  # of a small network
  kept: dict[str, float] | None = None  # of a pruned one: kernel -> share of its weights that stay


class Curves(NamedTuple):
  """What was measured of a run."""

  weights: int  # of all kernels
  dense_params: int
  retrain_steps: int
  dense: Measured  # the run itself
  untrained: Measured  # its network at step 0
  points: dict[str, list[Point]]  # curve -> its points, density falling
  label_ExT: np.ndarray  # of the test split


def measure(run: restored.Restored, asked: Asked, heard: Heard) -> Curves:
  """Raises Unavailable without data set or kernels, ValueError where a network diverges."""
  subject = pruning.open_subject(run, 'density')
  steps = asked.retrain_steps
  if steps is None:
    steps = order.steps_per_epoch(subject.split.rows, run.config.batch_size)
  scores = {name: score(subject) for name, score in SCORES.items()}
  weights = pruning.weights(scores['magnitude'])
  dense_params = _dense_params(subject, weights)
  sizes = {density: dense_params - weights + round(density * weights) for density in DENSITIES}
  test = blocks.open_split(run.data, subject.schema, 'test')
  look = _measuring(subject, test)

  points = _pruned(subject, scores, sizes, steps, look, heard)
  if asked.small:
    points[SMALL] = _small(subject, sizes, heard)
  return Curves(
    weights=weights,
    dense_params=dense_params,
    retrain_steps=steps,
    dense=points['magnitude'][0].measured,
    untrained=look(restored.initial_state(run, subject.program)),
    points=points,
    label_ExT=evaluation.labels(test).label_ExT,
  )


def _dense_params(subject: pruning.Subject, weights: int) -> int:
  """Of the network that is deployed; raises Unavailable where that is only a part of what was
  trained, whose weights a ranking over all kernels would count too.
  """
  config = subject.run.config
  found = train.counts(config, subject.schema)['dense_params_nonzero']
  if weights > found:
    raise restored.Unavailable(f'density: {config.model} deploys a part of what it trains alone')
  return found


Look = Callable[[train.TrainState], Measured]


def _measuring(subject: pruning.Subject, test: blocks.OpenSplit) -> Look:
  program = subject.program
  split = blocks.open_split(subject.run.data, subject.schema, 'valid')
  validate = evaluation.evaluator(program, split)
  evaluate = feeds.open_evaluate(program, test)
  labels = evaluation.labels(test)

  def look(state: train.TrainState) -> Measured:
    valid = validate(state)
    sums, logits_ExT = evaluate(state)
    found = program.objective.compute(sums, logits_ExT, labels)
    if valid is None or found is None:
      raise ValueError('density: the logits of a network are NaN or infinite')
    return Measured(_headline(valid), _headline(found), logits_ExT)

  return look


def _headline(found: dict[str, Any]) -> dict[str, float | None]:
  return {name: found[name] for name in ('logloss', 'auc')}


def _pruned(
  subject: pruning.Subject,
  scores: dict[str, Any],
  sizes: dict[float, int],
  steps: int,
  look: Look,
  heard: Heard,
) -> dict[str, list[Point]]:
  """Of each score: the curve as the network stands and, after `steps` steps if any, retrained."""
  points = collections.defaultdict(list)
  with contextlib.ExitStack() as stack:
    retrain = stack.enter_context(pruning.retraining(subject, steps)) if steps else None
    for name, score in scores.items():
      for density, size in sizes.items():
        masks = pruning.keep_largest(subject, score, density)
        kept = pruning.kept_shares(score, masks)
        states = {name: pruning.pruned(subject, masks)}
        if retrain:
          states[name + RETRAINED] = retrain(masks)
        for curve, state in states.items():
          points[curve].append(Point(density, size, look(state), kept=kept))
          heard(_in_short(curve, points[curve][-1]))
  return dict(points)


def _in_short(curve: str, point: Point) -> str:
  test = point.measured.test
  auc = 'undefined' if test['auc'] is None else f'{test["auc"]:.4f}'
  return f'{curve} {point.density:g}: test log loss {test["logloss"]:.4f}, auc {auc}'


def _small(subject: pruning.Subject, sizes: dict[float, int], heard: Heard) -> list[Point]:
  """The run's model at smaller widths, from scratch, by the run's recipe; each is tested in the
  state of its best validation.

  Without those that no width brings near the size, and those that diverge.
  """
  config = dataclasses.replace(subject.run.config, init_from='')
  opened = trials.open_data(subject.run.data, subject.schema, jax.local_devices()[:1])

  def size(width: int) -> int:
    smaller = dataclasses.replace(config, width=width)
    return train.counts(smaller, subject.schema)['dense_params_nonzero']

  points = []
  for density, wanted in sizes.items():
    width = grid.width_of_count(size, wanted)
    if width >= config.width or abs(size(width) - wanted) > NEAR * wanted:
      continue
    smaller = dataclasses.replace(config, width=width)
    (trained,) = trials.run_group(opened, [smaller], lambda steps: None)
    if trained.record['status'] != 'finished':
      continue
    valid, test = (
      {name: trained.record[f'{split}_{name}'] for name in ('logloss', 'auc')}
      for split in ('valid', 'test')
    )
    measured = Measured(valid, test, trained.test_logits_ExT)
    points.append(Point(density, size(width), measured, width))
    heard(_in_short(SMALL, points[-1]))
  return points
