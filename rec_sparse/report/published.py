"""The arms of a study beside the AUC that a benchmark prints of each, as CSV and as Markdown."""

from collections.abc import Sequence
import csv
import io

from rec_sparse.scaling import outcome

# name -> heading of the Markdown table
COLUMNS = {
  'arm': 'arm',
  'says': 'what differs from its source',
  'dense_params': 'dense parameters',
  'seeds': 'seeds',
  'valid_auc_mean': 'validation AUC',
  'valid_auc_sd': 'sd',
  'test_auc_mean': 'test AUC',
  'test_auc_sd': 'sd',
  'published_auc': 'published AUC',
}
_DIGITS = 4  # of an AUC in the Markdown table


def to_csv(found: Sequence[outcome.Outcome]) -> str:
  """A line for each arm, under COLUMNS; an empty cell is not known."""
  out = io.StringIO()
  writer = csv.DictWriter(out, list(COLUMNS), lineterminator='\n')
  writer.writeheader()
  writer.writerows(_row(o) for o in found)
  return out.getvalue()


def to_markdown(found: Sequence[outcome.Outcome]) -> str:
  """The same, with AUCs to four digits."""
  lines = [list(COLUMNS.values()), ['---'] * len(COLUMNS)]
  lines += [[_short(value) for value in _row(o).values()] for o in found]
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines) + '\n'


def _row(o: outcome.Outcome) -> dict[str, str | float]:
  row: dict[str, str | float] = {'arm': o.arm.name, 'says': o.arm.says}
  row['dense_params'] = int(o.counts['dense_params']) if o.counts else ''
  row['seeds'] = len(o.metrics.get('valid_auc', ()))
  for name in ('valid_auc', 'test_auc'):
    moments = outcome.moments(list(o.metrics[name].values())) if name in o.metrics else {}
    row |= {f'{name}_{part}': _known(moments.get(part)) for part in ('mean', 'sd')}
  return row | {'published_auc': _known(o.arm.published_auc)}


def _known(value: float | None) -> str | float:
  return '' if value is None else value


def _short(value: str | float) -> str:
  if isinstance(value, int):
    return f'{value:,}'
  return f'{value:.{_DIGITS}f}' if isinstance(value, float) else value
