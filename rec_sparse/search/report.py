"""What a selection says: plain numbers, and a table for people."""

from collections.abc import Sequence
import math
from typing import Any

import numpy as np

from rec_sparse.plan import Plan
from rec_sparse.search.afe import Step
from rec_sparse.search.information import Estimate


def to_json(plan: Plan, steps: Sequence[Step], heldout: Sequence[float]) -> dict[str, Any]:
  """The plan in words and the trace, in nats: value, interval, and as counted (plug-in)."""
  names = plan.made_by['fields']
  kept_F = plan.arrays['kept_F']
  return {
    'plan': plan.hash,
    'data_fingerprint': plan.data_fingerprint,
    'made_by': plan.made_by,
    'kept': [name for name, kept in zip(names, kept_F, strict=True) if kept],
    'table_rows_kept': int(plan.arrays['row_R'].max()) + 1,
    'heldout_logloss': list(heldout),
    'trace': [_step(step, names) for step in steps],
  } | ({'nmi': plan.arrays['nmi_FxF'].round(4).tolist()} if 'nmi_FxF' in plan.arrays else {})


def _step(step: Step, names: Sequence[str]) -> dict[str, Any]:
  scores = {name: _estimate(getattr(step, name)) for name in ('j', 'pi', 'bi', 'ci')}
  others = {
    name: names[getattr(step, name)] if getattr(step, name) >= 0 else None
    for name in ('redundant_to', 'partner')
  }
  return {'field': names[step.field]} | scores | others


def _estimate(estimate: Estimate) -> dict[str, Any]:
  return {
    'value': estimate.value,
    'interval': [estimate.low, estimate.high] if math.isfinite(estimate.half) else None,
    'plug_in': estimate.plug_in,
  }


def pairs(plan: Plan) -> str:
  """The kept pairs by name, and the setting that trains a model on their products alone."""
  names = plan.made_by['fields']
  first_P, second_P = np.triu_indices(len(names), 1)
  kept = plan.arrays['kept_pairs'].tolist()
  shown = ', '.join(f'{names[first_P[pair]]} x {names[second_P[pair]]}' for pair in kept)
  return f'of pairs {shown}\n--kept_pairs={",".join(map(str, kept))}'


def table(plan: Plan, steps: Sequence[Step], heldout: Sequence[float]) -> str:
  """The trace in 1e-3 nats, a line a choice; then how much of the table stays."""
  names = plan.made_by['fields']
  width = max(map(len, names))
  lines = []
  if steps:
    lines.append(
      f'{"field":<{width}} {"J, 1e-3 nats":>22} {"PI":>8} {"BI":>8} {"CI":>8} {"plug-in J":>9}'
      + (f' {"held-out":>9}' if heldout else '')
    )
  for i, step in enumerate(steps):
    numbers = ' '.join(f'{1e3 * part.value:8.3f}' for part in (step.pi, step.bi, step.ci))
    line = f'{names[step.field]:<{width}} {1e3 * step.j.value:11.3f} +-{1e3 * step.j.half:8.3f} '
    line += f'{numbers} {1e3 * step.j.plug_in:9.3f}'
    line += f' {heldout[i + 1]:9.5f}' if heldout else ''
    line += f'  redundant to {names[step.redundant_to]}' if step.redundant_to >= 0 else ''
    lines.append(line)
  row_R = plan.arrays['row_R']
  own = np.unique(row_R[row_R >= 0]).size
  lines.append(f'{own:,} of {len(row_R):,} table rows stay')
  return '\n'.join(lines)
