"""The synthetic teacher: a planted network over Zipf ids.

Its best reachable log loss and AUC are known.

Every id of every field has a fixed random vector of d dimensions, standardised under the law of its
field. Each hidden unit is |z| of a sum z over K of the F x d dimensions, spread over a few fields:
a pair of ReLUs whose linear parts cancel, so that about half of the signal is no sum over ids and
out of reach of a logistic regression. logit = intercept + readout of the units + noise. With K = F
x d the teacher is dense: the negative control.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

# s of P(rank r) ~ 1 / r^s; long: the longest tail
SKEWS = {'uniform': 0.0, 'long': 0.9, 'medium': 1.1, 'short': 1.3}
_SAMPLE = 1 << 18  # rows that calibrate scale and intercept
_CHUNK = 1 << 16  # rows at a time
EXPECTED_ERROR = 8e-5  # nats: standard error of irreducible log loss, below any gain that matters
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclasses.dataclass(frozen=True)
class Recipe:
  """What makes a teacher; equal recipes make equal teachers."""

  fields: int = 10  # F
  vocab: int = 100  # W: different values of each field
  skew: str = 'medium'  # a name of SKEWS
  hidden: int = 8  # H: planted units
  inputs: int = 4  # K: dimensions that a unit reads; fields x dims: all of them
  dims: int = 4  # d: dimensions of an id's vector
  signal: float = 2.0  # standard deviation of the noiseless logit
  noise: float = 0.5  # standard deviation of the logit noise
  ctr: float = 0.25  # expected label rate
  seed: int = 0


class Teacher(NamedTuple):
  """The planted network."""

  law_W: np.ndarray  # cumulative probability of the values, the same in each field
  vectors_FxWxD: np.ndarray  # float32
  input_NxH: np.ndarray  # N = F x D; K non-zero weights per unit
  bias_H: np.ndarray
  readout_H: np.ndarray
  intercept: float
  noise: float


def make(recipe: Recipe) -> Teacher:
  """Draws the network, scales its readout to `signal`, and sets the intercept for the label rate.

  Raises ValueError naming the option that is out of range.
  """
  _check(recipe)
  rng = np.random.default_rng([recipe.seed, 0])
  law_W = np.arange(1, recipe.vocab + 1, dtype=np.float64) ** -SKEWS[recipe.skew]
  law_W /= law_W.sum()
  teacher = Teacher(
    law_W=np.cumsum(law_W),
    vectors_FxWxD=_vectors(recipe, law_W, rng),
    input_NxH=_inputs(recipe, rng),
    bias_H=rng.normal(0, 0.25, recipe.hidden).astype(np.float32),
    readout_H=np.resize([1, -1], recipe.hidden).astype(np.float32),
    intercept=0.0,
    noise=recipe.noise,
  )
  logit_B = logits(teacher, draw_ids(teacher, _SAMPLE, np.random.default_rng([recipe.seed, 1])))
  scale = recipe.signal / logit_B.std()
  teacher = teacher._replace(readout_H=teacher.readout_H * np.float32(scale))
  return teacher._replace(intercept=_intercept(logit_B * scale, recipe))


def draw_ids(teacher: Teacher, rows: int, rng: np.random.Generator) -> np.ndarray:
  """Independent Zipf values int32 (rows, F), 0 the most frequent."""
  fields = len(teacher.vectors_FxWxD)
  ids_BxF = np.searchsorted(teacher.law_W, rng.random((rows, fields)), side='right')
  return np.minimum(ids_BxF, len(teacher.law_W) - 1).astype(np.int32)


def logits(teacher: Teacher, ids_BxF: np.ndarray) -> np.ndarray:
  """Noiseless logit float32 (B,)."""
  fields = np.arange(ids_BxF.shape[1])
  x_BxN = teacher.vectors_FxWxD[fields, ids_BxF].reshape(len(ids_BxF), -1)
  hidden_BxH = np.abs(x_BxN @ teacher.input_NxH + teacher.bias_H)
  return hidden_BxH @ teacher.readout_H + np.float32(teacher.intercept)


def probability(teacher: Teacher, logit_B: np.ndarray) -> np.ndarray:
  """Click probability given the ids, p(x) = E sigmoid(logit + noise), float64.

  The expectation is by Gauss-Hermite quadrature.
  """
  p_B = np.zeros(len(logit_B))
  for node, weight in zip(_NODES, _WEIGHTS, strict=True):
    p_B += weight / (1 + np.exp(-(logit_B + np.float32(teacher.noise * node))))
  return p_B


def draw_labels(teacher: Teacher, logit_B: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """y ~ Bernoulli(sigmoid(logit + noise)), uint8 (B,)."""
  noisy_B = logit_B + np.float32(teacher.noise) * rng.standard_normal(len(logit_B), np.float32)
  return (rng.random(len(logit_B), np.float32) * (1 + np.exp(-noisy_B)) < 1).astype(np.uint8)


class Irreducible(NamedTuple):
  """What no model can do better than, in expectation."""

  logloss: float  # nats per example
  auc: float
  error: float  # standard error of the log loss: it is a mean over a sample of ids


def irreducible(
  teacher: Teacher, rng: np.random.Generator, error: float = EXPECTED_ERROR
) -> Irreducible:
  """Log loss and AUC of the true probability, over a sample of ids.

  The sample is so large that the standard error of the log loss is at most `error`.
  """
  parts = []
  entropies = []
  reached = math.inf
  while not reached <= error:
    p_B = probability(teacher, logits(teacher, draw_ids(teacher, _CHUNK, rng)))
    entropy_B = -(p_B * np.log(p_B) + (1 - p_B) * np.log1p(-p_B))
    parts.append(p_B)
    entropies.append((entropy_B.mean(), entropy_B.var()))
    logloss, variance = np.mean(entropies, axis=0)
    if not math.isfinite(logloss):
      return Irreducible(float(logloss), math.nan, math.nan)
    reached = math.sqrt(variance / (len(parts) * _CHUNK))

  p_B = np.sort(np.concatenate(parts))  # each row is p_B positives and 1 - p_B negatives
  below_B = np.cumsum(1 - p_B) - (1 - p_B) / 2
  auc = (p_B * below_B).sum() / (p_B.sum() * (1 - p_B).sum())
  return Irreducible(float(logloss), float(auc), reached)


def _check(recipe: Recipe) -> None:
  if recipe.skew not in SKEWS:
    raise ValueError(f'teacher: skew={recipe.skew!r}: expected one of {", ".join(SKEWS)}')
  for name in ('signal', 'noise', 'ctr'):
    if not math.isfinite(getattr(recipe, name)):
      raise ValueError(f'teacher: {name}={getattr(recipe, name)}: expected a finite number')
  at_least = {'fields': 1, 'vocab': 2, 'hidden': 1, 'dims': 1, 'noise': 0, 'seed': 0}
  for name, least in at_least.items():
    if getattr(recipe, name) < least:
      raise ValueError(f'teacher: {name}={getattr(recipe, name)}: expected at least {least}')
  most = recipe.fields * recipe.dims
  if not 1 <= recipe.inputs <= most:
    raise ValueError(f'teacher: inputs={recipe.inputs}: expected 1 to {most} (fields x dims)')
  if not recipe.signal > 0:
    raise ValueError(f'teacher: signal={recipe.signal}: expected more than 0')
  if not 0 < recipe.ctr < 1:
    raise ValueError(f'teacher: ctr={recipe.ctr}: expected a rate in (0, 1)')


def _vectors(recipe: Recipe, law_W: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  vectors_FxWxD = rng.standard_normal((recipe.fields, recipe.vocab, recipe.dims))
  mean_FxD = np.einsum('v,fvd->fd', law_W, vectors_FxWxD)
  centred_FxWxD = vectors_FxWxD - mean_FxD[:, None]
  scale_FxD = np.sqrt(np.einsum('v,fvd->fd', law_W, centred_FxWxD**2))
  return (centred_FxWxD / np.maximum(scale_FxD, 1e-9)[:, None]).astype(np.float32)


def _inputs(recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
  """K weights per unit, over about K / 2 fields and at least 2.

  All fields are read about equally often.
  """
  half = -(-recipe.inputs // 2)
  enough = -(-recipe.inputs // recipe.dims)
  count = min(recipe.fields, recipe.inputs, max(2, half, enough))
  weights_HxFxD = np.zeros((recipe.hidden, recipe.fields, recipe.dims), np.float32)
  read_F = np.zeros(recipe.fields, int)
  for unit_FxD in weights_HxFxD:
    # the least read ones, ties at random
    fields = np.lexsort((rng.random(recipe.fields), read_F))[:count]
    read_F[fields] += 1
    order_JxD = np.argsort(rng.random((count, recipe.dims)), axis=1)
    # one dimension of each field, then a second one of each, and so on
    for k in range(recipe.inputs):
      turn, j = divmod(k, count)
      sign = rng.choice([-1, 1])
      unit_FxD[fields[j], order_JxD[j, turn]] = sign * rng.uniform(0.5, 1.5)
    unit_FxD /= np.sqrt((unit_FxD**2).sum())
  return weights_HxFxD.reshape(recipe.hidden, -1).T.copy()


def _intercept(logit_B: np.ndarray, recipe: Recipe) -> float:
  """Bisection for the intercept at which the mean click probability is the label rate."""
  rng = np.random.default_rng([recipe.seed, 2])
  noisy_B = logit_B + recipe.noise * rng.standard_normal(len(logit_B))
  low = -50.0 - noisy_B.max()
  high = 50.0 - noisy_B.min()
  for _ in range(60):
    middle = (low + high) / 2
    rate = np.mean(1 / (1 + np.exp(-(noisy_B + middle))))
    if rate < recipe.ctr:
      low = middle
    else:
      high = middle
  return float(middle)
