"""Adaptive Feature Extraction: fields chosen greedily by what they tell of one label or several.

REACTION (AAAI 2026) has three terms, preference, behaviour and collaboration, added up and chosen
greedily; no formula is public. Our reading, for a candidate m, chosen fields S and T labels:

  PI = sum_l I(m; l)
  BI = 1 / (T - 1) sum_{l != l'} [I(m; l | l') - I(m; l)]          0 of one label
  CI = 1 / |S| sum_{s in S} sum_l [I(m; l | s) - I(m; l)]          0 before the first choice
  J  = PI + BI + CI

At one label J is the mean over S of I(m; l | s), the JMI score (Brown et al. 2012).

A mean over S forgives a copy of one of many chosen fields: its J is near (|S| - 1) / |S| of the
original's. So, ours again, a candidate that a chosen field explains away stands behind all that
none does; `strikes=False` is the plain score.

A pair of fields that tell nothing each but something together (XOR) is missed by construction.
`most_synergistic` looks for it among all pairs, in as many passes as there are fields.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
import math

import numpy as np

from rec_sparse.search import counts
from rec_sparse.search.information import combined
from rec_sparse.search.information import Estimate
from rec_sparse.search.information import Method
from rec_sparse.search.information import Term

EXPLAINED = 0.9  # share of what a field tells that another must tell for it to be redundant

# (given, candidates) -> a table_JxWxY for each candidate
Pairs = Callable[[int, Sequence[int]], Iterable[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Step:
  """A choice; scores are those at which it was chosen."""

  field: int
  j: Estimate
  pi: Estimate
  bi: Estimate
  ci: Estimate
  redundant_to: int  # the chosen field that explains it away; -1: none
  partner: int  # the chosen field given which it tells most; -1: the first choice
  forced: bool  # chosen by `start`, not by its score


@dataclasses.dataclass
class _Candidate:
  """What has been counted of a field."""

  alone_T: list[Estimate]  # I(m; l)
  given_label: list[Estimate]  # I(m; l | l'), for all l != l'
  given: dict[int, list[Estimate]]  # chosen field -> I(m; l | s) of each l


def steps(
  tables: Sequence[np.ndarray],
  pairs: Pairs,
  tasks: int,
  method: Method,
  seed: int = 0,
  strikes: bool = True,
  start: Sequence[int] = (),
) -> Iterator[Step]:
  """Yields one choice after another until no field is left.

  `tables`: table_WxY of every field; `start`: choices that come first, whatever they score. Rows
  are counted once between two choices, when the next one is asked for.
  """
  start = list(start)
  left = {}
  for field, table_WxY in enumerate(tables):
    left[field] = _first(table_WxY, tasks, method, np.random.default_rng([seed, field]))
  while left:
    if start:
      best = dataclasses.replace(_step(start[0], left[start[0]], strikes), forced=True)
      del start[0]
    else:
      best = max((_step(field, own, strikes) for field, own in left.items()), key=_rank)
    del left[best.field]
    yield best
    for field, table_JxWxY in zip(left, pairs(best.field, tuple(left)), strict=True):
      rng = np.random.default_rng([seed, field, 1 + best.field])
      found = [method(counts.by_label(table_JxWxY, tasks, task), rng) for task in range(tasks)]
      left[field].given[best.field] = [
        _unless_unknown(estimate, alone)
        for estimate, alone in zip(found, left[field].alone_T, strict=True)
      ]


def most_synergistic(
  tables: Sequence[np.ndarray], pairs: Pairs, tasks: int, method: Method, seed: int = 0
) -> tuple[int, ...]:
  """The pair of fields whose sum_l [I(m; l | s) - I(m; l)] is largest; () if none is above 0.

  Of the two, the one that tells more alone comes first.
  """
  found = {}
  alone_F = [alone(table_WxY, tasks, method, [seed, f]) for f, table_WxY in enumerate(tables)]
  for given in range(len(tables) - 1):
    others = tuple(range(given + 1, len(tables)))
    for field, table_JxWxY in zip(others, pairs(given, others), strict=True):
      rng = np.random.default_rng([seed, field, 1 + given])
      both = [method(counts.by_label(table_JxWxY, tasks, t), rng) for t in range(tasks)]
      found[given, field] = combined(Term(1, both), Term(-1, [alone_F[field]]))
  sure = [pair for pair, synergy in found.items() if synergy.low > 0]
  if not sure:
    return ()
  pair = max(sure, key=lambda pair: found[pair].value)
  return tuple(sorted(pair, key=lambda field: -alone_F[field].value))


def _unless_unknown(given: Estimate, alone: Estimate) -> Estimate:
  """I(m; l | s); where no cell has two rows, nothing is known of it, and no interaction assumed."""
  return given if math.isfinite(given.half) else given._replace(value=alone.value)


def alone(table_WxY: np.ndarray, tasks: int, method: Method, seed: Sequence[int]) -> Estimate:
  """PI of a field."""
  rng = np.random.default_rng(seed)
  return _sum(_alone(table_WxY, tasks, method, rng))


def _alone(
  table_WxY: np.ndarray, tasks: int, method: Method, rng: np.random.Generator
) -> list[Estimate]:
  """I(m; l) of each label."""
  return [method(counts.by_label(table_WxY[None], tasks, task), rng) for task in range(tasks)]


def _first(
  table_WxY: np.ndarray, tasks: int, method: Method, rng: np.random.Generator
) -> _Candidate:
  alone_T = _alone(table_WxY, tasks, method, rng)
  given_label = [
    method(counts.by_label_given(table_WxY, tasks, task, other), rng)
    for task in range(tasks)
    for other in range(tasks)
    if other != task
  ]
  return _Candidate(alone_T, given_label, {})


def _step(field: int, candidate: _Candidate, strikes: bool) -> Step:
  tasks = len(candidate.alone_T)
  given = [estimate for own in candidate.given.values() for estimate in own]
  of_labels = 1 / (tasks - 1) if tasks > 1 else 0.0
  of_given = 1 / len(candidate.given) if given else 0.0
  minus = -float(tasks > 1) - bool(given)  # of I(m; l) in BI and CI together

  def score(of_alone: float, of_labels: float, of_given: float) -> Estimate:
    return combined(
      Term(of_alone, candidate.alone_T),
      Term(of_labels, candidate.given_label),
      Term(of_given, given),
    )

  return Step(
    field=field,
    j=score(1 + minus, of_labels, of_given),
    pi=score(1, 0, 0),
    bi=score(-float(tasks > 1), of_labels, 0),
    ci=score(-float(bool(given)), 0, of_given),
    redundant_to=_explained(candidate) if strikes else -1,
    partner=max(candidate.given, key=lambda s: _sum(candidate.given[s]).value, default=-1),
    forced=False,
  )


def _explained(candidate: _Candidate) -> int:
  """The first chosen field that explains the candidate away; -1 if none does."""
  alone = _sum(candidate.alone_T)
  for other, estimates in candidate.given.items():
    if alone.low > 0 and _sum(estimates).high < (1 - EXPLAINED) * alone.value:
      return other
  return -1


def _sum(estimates: Sequence[Estimate]) -> Estimate:
  return combined(Term(1, estimates))


def _rank(step: Step) -> tuple[bool, float]:
  return step.redundant_to < 0, step.j.value
