"""What a plan of clusters says: plain numbers, and a table for people."""

from typing import Any

from rec_sparse.plan import Plan


def to_json(plan: Plan) -> dict[str, Any]:
  """The plan in words: of each cluster its share of the training rows, and dimensions by field."""
  arrays = plan.arrays
  kept_VxN, names = arrays['kept_VxN'], plan.made_by['fields']
  dims_VxF = kept_VxN.reshape(len(kept_VxN), len(names), -1).sum(2)
  clusters = []
  for share, dims_F in zip(arrays['share_V'].tolist(), dims_VxF.tolist(), strict=True):
    dims = dict(zip(names, dims_F, strict=True))
    clusters.append({'share': share, 'kept': sum(dims_F), 'dims': dims})
  return {
    'plan': plan.hash,
    'data_fingerprint': plan.data_fingerprint,
    'made_by': plan.made_by,
    'entries': kept_VxN.shape[1],
    'entries_kept': float(arrays['share_V'] @ kept_VxN.sum(1)),  # mean over training rows
    'theta': float(arrays['score_VxN'][kept_VxN].min()),  # the lowest mean gate that is kept
    'clusters': clusters,
  }


def table(plan: Plan) -> str:
  """Kept dimensions of each field by cluster; then how much an example keeps."""
  said = to_json(plan)
  clusters = said['clusters']
  names = plan.made_by['fields']
  width = max(map(len, ('rows', *names)))
  shares = ' '.join(f'{cluster["share"]:6.1%}' for cluster in clusters)
  lines = [f'{"rows":<{width}} {shares}']
  for name in names:
    dims = ' '.join(f'{cluster["dims"][name]:6}' for cluster in clusters)
    lines.append(f'{name:<{width}} {dims}')
  share = said['entries_kept'] / said['entries']
  lines.append(
    f'an example keeps {said["entries_kept"]:.1f} of {said["entries"]} entries ({share:.3f})'
  )
  return '\n'.join(lines)
