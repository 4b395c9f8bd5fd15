"""What a plan of dimensions says: plain numbers, and a table for people."""

from typing import Any

import numpy as np

from rec_sparse.plan import Plan


def to_json(plan: Plan) -> dict[str, Any]:
  """The plan in words: of each field its bins, from frequent to rare."""
  arrays = plan.arrays
  rows_Z, kept_ZxD = arrays['rows_Z'], arrays['kept_ZxD']
  kept = int((rows_Z * kept_ZxD.sum(1)).sum())
  fields = {}
  for f, name in enumerate(plan.made_by['fields']):
    own = arrays['field_Z'] == f
    fields[name] = {
      'rows': rows_Z[own].tolist(),
      'uses': arrays['uses_Z'][own].tolist(),
      'dims': kept_ZxD[own].sum(1).tolist(),
    }
  return {
    'plan': plan.hash,
    'data_fingerprint': plan.data_fingerprint,
    'made_by': plan.made_by,
    'entries_kept': kept,
    'entries': int(rows_Z.sum() * kept_ZxD.shape[1]),
    'fields': fields,
  }


def table(plan: Plan) -> str:
  """Kept dimensions of each field by bin, and their mean over its rows; then how much is kept."""
  said = to_json(plan)
  width = max(map(len, said['fields']))
  lines = []
  for name, own in said['fields'].items():
    mean = np.average(own['dims'], weights=own['rows'])
    dims = ' '.join(f'{dims:3}' for dims in own['dims'])
    lines.append(f'{name:<{width}} {sum(own["rows"]):>9,} rows, {mean:5.2f} dimensions: {dims}')
  share = said['entries_kept'] / said['entries']
  lines.append(f'{said["entries_kept"]:,} of {said["entries"]:,} entries stay ({share:.3f})')
  return '\n'.join(lines)
