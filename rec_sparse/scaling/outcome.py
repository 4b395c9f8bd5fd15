"""What came of the arms of one size: each at its best learning rate, and its paired difference
from its reference.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from rec_sparse.scaling import paired_rows
from rec_sparse.scaling import records
from rec_sparse.scaling.study import Arm
from rec_sparse.scaling.study import Study

COUNTED = {
  'dense_params_nonzero': 'dense parameters',
  'embedding_params_nonzero': 'parameters of the table',
}
# Columns of the table, where the trials have them.
AREAS = {
  'test_auc': 'test AUC',
  'test_gauc_impressions': 'test GAUC, by impressions',
  'test_gauc_users': 'test GAUC, by users',
}


@dataclasses.dataclass(frozen=True)
class Outcome:
  """One arm; the test split is looked at at the learning rate that the validation split chose."""

  arm: Arm
  width: int  # as trained: given, or chosen to match a count
  learning_rate: float | None  # best mean validation log loss over seeds; None: no trial finished
  edge: str  # where it lies in the grid, as in records.Rung
  lost: int  # trials of the whole grid that diverged or failed
  counts: Mapping[str, float]  # records.COUNTS; empty if no trial finished
  # as in records.Trial -> seed -> value, at that learning rate
  metrics: Mapping[str, Mapping[int, float]]
  auc: paired_rows.Difference | None  # test AUC minus reference's; None: self, unpaired, one class
  logloss: paired_rows.Difference | None  # test log loss minus the reference's, nats per example


def outcomes(
  study: Study,
  trials: Mapping[str, Sequence[records.Trial]],
  logits: Callable[[str], np.ndarray],
  label_ExT: np.ndarray,
) -> tuple[Outcome, ...]:
  """The outcome of every arm of one size.

  `trials`: arm -> its records; `logits`: run id -> logit_ExT of the test split.
  """
  found, scores = [], {}
  for arm in study.singles:
    outcome, best = _outcome(study, arm, trials[arm.name])
    found.append(outcome)
    scores[arm.name] = {seed: logits(trial.run_id) for seed, trial in best.items()}
  return tuple(
    o if o.arm.is_reference else _compare(o, scores[o.arm.against], scores[o.arm.name], label_ExT)
    for o in found
  )


def _outcome(
  study: Study, arm: Arm, trials: Sequence[records.Trial]
) -> tuple[Outcome, dict[int, records.Trial]]:
  lost, width = sum(t.status != 'finished' for t in trials), trials[0].width
  if lost == len(trials):
    return Outcome(arm, width, None, '', lost, {}, {}, None, None), {}
  rate = records.choose_learning_rate(trials)
  best = {t.seed: t for t in trials if t.learning_rate == rate and t.status == 'finished'}
  first = next(iter(best.values()))
  names = records.shared_metrics(list(best.values()))
  metrics = {name: {seed: t.metrics[name] for seed, t in best.items()} for name in names}
  edge = records.edge(study.learning_rates, trials, rate)
  return Outcome(arm, width, rate, edge, lost, first.counts, metrics, None, None), best


def _compare(
  outcome: Outcome,
  reference: dict[int, np.ndarray],
  own: dict[int, np.ndarray],
  label_ExT: np.ndarray,
) -> Outcome:
  seeds = sorted(reference.keys() & own.keys())
  if not seeds:
    return outcome
  first_SxExT, second_SxExT = (
    np.stack([logits[seed] for seed in seeds]) for logits in (reference, own)
  )
  positives_T = label_ExT.astype(bool).sum(0)
  defined = ((0 < positives_T) & (positives_T < len(label_ExT))).all()
  return dataclasses.replace(
    outcome,
    auc=paired_rows.auc_difference(first_SxExT, second_SxExT, label_ExT) if defined else None,
    logloss=paired_rows.logloss_difference(first_SxExT, second_SxExT, label_ExT),
  )


def to_json(study: Study, found: Sequence[Outcome]) -> dict[str, Any]:
  """Plain numbers for `<study>.json`; differences are of the test split, arm minus reference."""
  return {
    'study': study.name,
    'title': study.title,
    'source': study.source,
    'seeds': list(study.seeds),
    'learning_rates': list(study.learning_rates),
    'arms': {o.arm.name: _arm_json(o) for o in found},
  }


def _arm_json(o: Outcome) -> dict[str, Any]:
  differences = {
    f'{name}_difference': d and d._asdict() for name, d in (('auc', o.auc), ('logloss', o.logloss))
  }
  metrics = {name: moments(list(by_seed.values())) for name, by_seed in o.metrics.items()}
  return {
    'model': o.arm.model,
    'says': o.arm.says,
    'against': None if o.arm.is_reference else o.arm.against,
    'overrides': o.arm.overrides,
    'data': o.arm.data,
    'width': o.width,
    **o.counts,
    'learning_rate': o.learning_rate,
    'learning_rate_edge': o.edge,
    'trials_lost': o.lost,
    **metrics,
    **differences,
    'published_auc_points': o.arm.published,
    'published_auc': o.arm.published_auc,
  }


def moments(values: Sequence[float]) -> dict[str, float | None]:
  """Mean and standard deviation over seeds; None of an AUC that is undefined."""
  if np.isnan(values).any():
    return {'mean': None, 'sd': None}
  sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
  return {'mean': float(np.mean(values)), 'sd': sd}


def to_markdown(found: Sequence[Outcome]) -> str:
  """A table, one arm a row: differences in AUC (points, 1e-2) and log loss (1e-3 nats) with 95 %
  intervals. Parameters of the table have a column where arms differ in them.
  """
  tables = {o.counts['embedding_params_nonzero'] for o in found if o.counts}
  counts = ['dense_params_nonzero'] + ['embedding_params_nonzero'] * (len(tables) > 1)
  published = any(o.arm.published is not None for o in found)
  areas = {name: words for name, words in AREAS.items() if any(name in o.metrics for o in found)}
  head = [
    'arm',
    'what differs',
    *(COUNTED[name] for name in counts),
    *areas.values(),
    'AUC, points',
    'log loss, 1e-3 nats',
    'lr',
  ]
  rows = [head + ['paper, points'] * published]
  rows += [
    _row(o, found[0].arm.name, counts, list(areas)) + [_number(o.arm.published, '+.2f')] * published
    for o in found
  ]
  rows.insert(1, ['---'] * len(rows[0]))
  return '\n'.join(f'| {" | ".join(row)} |' for row in rows) + '\n'


def _row(o: Outcome, first: str, counts: Sequence[str], areas: Sequence[str]) -> list[str]:
  lost = f'; {o.lost} trials lost' if o.lost else ''
  edge = f' ({o.edge})' if o.edge else ''
  means = [
    _number(moments(list(o.metrics[name].values()))['mean'], '.4f') if name in o.metrics else ''
    for name in areas
  ]
  if not o.metrics:
    means[0] = 'none finished'
  against = '' if o.arm.is_reference or o.arm.against == first else f' (against {o.arm.against})'
  return [
    o.arm.name,
    o.arm.says + against + lost,
    *(_number(o.counts.get(name), ',.0f') for name in counts),
    *means,
    *(
      ['reference'] * 2
      if o.arm.is_reference
      else [_interval(o.auc, 1e2), _interval(o.logloss, 1e3)]
    ),
    _number(o.learning_rate, 'g') + edge,
  ]


def _interval(d: paired_rows.Difference | None, scale: float) -> str:
  if d is None:
    return ''
  interval = (
    '' if d.interval is None else ' [{:+.2f}, {:+.2f}]'.format(*(scale * end for end in d.interval))
  )
  return f'{scale * d.value:+.2f}{interval}'


def _number(value: float | None, form: str) -> str:
  return '' if value is None else format(value, form)
