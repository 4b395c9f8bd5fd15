"""What other programs read of a report: verdicts.json and curves.csv."""

from collections.abc import Mapping, Sequence
import csv
import dataclasses
import io
import json
import math

import numpy as np

from rec_sparse.report import wording
from rec_sparse.scaling.records import KNOBS
from rec_sparse.scaling.records import METRICS
from rec_sparse.scaling.records import Results
from rec_sparse.scaling.records import Rung
from rec_sparse.scaling.verdict import Verdict

# name -> meaning; metrics follow as <metric>_mean, <metric>_sd and <metric>_seed_<seed>
CURVE_COLUMNS = {
  'arm': 'name of the arm',
  'width': 'scale knob',
  'depth': 'scale knob',
  'views': 'scale knob of multi-view arms, 1 in others',
  'flops_per_example': 'forward floating-point operations per example, kept connections only',
  'dense_params': 'parameters outside the table, zeros included',
  'dense_params_nonzero': 'non-zero parameters outside the table',
  'embedding_params': 'parameters of the table',
  'embedding_params_nonzero': 'those of them that a mask keeps; without one, all',
  'learning_rate': 'chosen by mean validation log loss over seeds',
  'learning_rate_edge': (
    'lowest, highest or only: the chosen rate is not bracketed by others; empty if it is'
  ),
  'seeds': 'seeds that finished at this learning rate',
}


def axes_of(rungs: Mapping[str, Sequence[Rung]]) -> list[str]:
  """KNOBS, then what else the scale of any arm turns."""
  axes = dict.fromkeys(KNOBS)
  for own in rungs.values():
    for rung in own:
      axes |= dict.fromkeys(rung.scale)
  return list(axes)


def columns_of(rungs: Mapping[str, Sequence[Rung]]) -> dict[str, str]:
  """Columns of curves.csv, but for those of metrics -> their meaning."""
  others = axes_of(rungs)[len(KNOBS) :]
  return CURVE_COLUMNS | dict.fromkeys(others, 'config field that the scale of an arm turns')


def verdicts_json(verdicts: Mapping[str, Verdict]) -> str:
  """The text of verdicts.json: strict JSON, null for what is not known."""
  entries = {arm: _entry(v) for arm, v in verdicts.items()}
  return json.dumps(entries, indent=1, allow_nan=False) + '\n'


def curves_csv(results: Results, rungs: Mapping[str, Sequence[Rung]]) -> str:
  """The text of curves.csv: one row per rung, a column per seed.

  `columns_of` says what the others are. An empty cell is not known.
  """
  metrics = dict.fromkeys(METRICS)
  for own in rungs.values():
    for rung in own:
      metrics |= dict.fromkeys(rung.metrics)
  seeds = [f'{metric}_seed_{seed}' for metric in metrics for seed in results.study.seeds]
  moments = [f'{metric}_{moment}' for metric in metrics for moment in ('mean', 'sd')]
  out = io.StringIO()
  columns = [*columns_of(rungs), *moments, *seeds]
  writer = csv.DictWriter(out, columns, restval='', lineterminator='\n')
  writer.writeheader()
  writer.writerows(_row(rung) for own in rungs.values() for rung in own)
  return out.getvalue()


def _entry(v: Verdict) -> dict:
  low, high = v.slope.interval or (None, None)
  holdout = None
  if v.holdout:
    error = v.holdout.predicted - v.holdout.observed
    holdout = dataclasses.asdict(v.holdout) | {'error': error}
  return {
    'verdict': v.call,
    'provisional': bool(v.provisional),
    'slope': v.slope.value,
    'slope_interval': [low, high],
    'irreducible': v.irreducible,
    'exponent': v.exponent,
    'seeds_needed': v.seeds_needed,
    'rows_needed': v.rows_needed,
    'rows_needed_seeds': v.rows_needed_seeds,
    'reason': v.reason,
    'provisional_because': v.provisional,
    'delta': v.delta,
    'seeds': v.slope.seeds,
    'slope_rungs': v.slope.rungs,
    'slope_rows_error': v.slope.rows_error,
    'last_slope': v.last.value,
    'last_slope_interval': v.last.interval or [None, None],
    'ladder': v.ladder,
    'saturated_if_delta_above': max(-low, 0.0) if low is not None else None,
    'scaling_if_delta_below': -high if high is not None and high < 0 else None,
    'verdict_without_rung': v.without_rung,
    'learning_rate_at_edge': v.rate_at_edge,
    'law': v.law.name if v.law else None,
    'aicc': {law: aicc if math.isfinite(aicc) else None for law, aicc in v.aicc.items()},
    'irreducible_interval': v.irreducible_interval or [None, None],
    'exponent_interval': v.exponent_interval or [None, None],
    'holdout': holdout,
  }


def _row(rung: Rung) -> dict[str, object]:
  row = {
    'arm': rung.arm,
    **rung.scale,
    'seeds': len(rung.seeds),
    'flops_per_example': _plain(rung.flops),
    'dense_params': _plain(rung.dense_params),
    'dense_params_nonzero': _plain(rung.nonzero),
    'embedding_params': _plain(rung.embedding_params),
    'embedding_params_nonzero': _plain(rung.embedding_nonzero),
    'learning_rate': rung.learning_rate,
    'learning_rate_edge': rung.edge,
  }
  for metric, values in rung.metrics.items():
    if np.isnan(values).any():  # an AUC of labels of one class
      continue
    row[f'{metric}_mean'] = float(values.mean())
    row[f'{metric}_sd'] = float(values.std(ddof=1)) if len(values) > 1 else ''
    for seed, value in zip(rung.seeds, values, strict=True):
      row[f'{metric}_seed_{seed}'] = float(value)
  return row


def _plain(count: float) -> float | int:
  return int(count) if count == int(count) else count


def verdict_table(verdicts: Mapping[str, Verdict]) -> str:
  """One line per arm for the terminal."""
  rows = [('arm', 'verdict', 'slope (nats per e-fold)', '95 % interval', 'to settle it')]
  for arm, v in verdicts.items():
    slope = '-' if v.slope.value is None else f'{v.slope.value:+.5f}'
    interval = '-' if v.slope.interval is None else '[{:+.5f}, {:+.5f}]'.format(*v.slope.interval)
    call = f'{v.call}, provisional' if v.provisional else v.call
    rows.append((arm, call, slope, interval, wording.needed_text(v) or '-'))

  widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
  lines = []
  for row in rows:
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
    lines.append('  '.join(cells).rstrip())
  return '\n'.join(lines)
