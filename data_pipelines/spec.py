"""The spec: which raw column plays which part; a small JSON file, and inference for what it leaves out."""

import dataclasses
import difflib
import pathlib
import re
from typing import Any

from rec_sparse import schema as schema_lib

LABELS = ('label', 'click', 'clicked', 'target', 'y')  # column names taken for the label
MODES = ('bucket', 'value')  # of a numeric column
_INDEX = re.compile(r'__index_level_\d+__|Unnamed: \d+|')  # written by pandas; never a feature


@dataclasses.dataclass(frozen=True)
class Spec:
  """Parts of the raw columns. As read from JSON, empty label, categorical and numeric are still to be inferred."""

  label: tuple[str, ...] = ()  # one column per task
  categorical: tuple[str, ...] | None = None
  numeric: dict[str, str] | None = None  # column -> bucket (log-square bucket ids) or value (times an embedding)
  group: str | None = None  # groups of GAUC; may be a feature as well
  drop: tuple[str, ...] = ()
  columns: tuple[str, ...] | None = None  # names of all columns, for files without a header
  delimiter: str | None = None  # of csv


def read(path: str | None, mode: str) -> Spec:
  """Reads a spec file; numeric columns given as a list get `mode`. Raises ValueError naming file and key."""
  if path is None:
    return Spec()
  try:
    raw = schema_lib.read_json(pathlib.Path(path))
  except FileNotFoundError:
    raise ValueError(f'--spec={path}: no such file') from None
  known = [f.name for f in dataclasses.fields(Spec)]
  for key in raw:
    if key not in known:
      raise ValueError(f'{path}: unknown key {key!r}; {_hint(key, known)}')
  return Spec(**{key: _parse(key, value, mode, path) for key, value in raw.items()})


def resolve(spec: Spec, columns: dict[str, bool], file: str, mode: str) -> Spec:
  """Fills in what the spec leaves out, from `columns` of `file` (name -> whether it holds floats).

  The label is the column called as in LABELS; other float columns are numeric, all else is categorical. Raises
  ValueError naming the column when one is missing, plays two parts, or when no label is found.
  """
  label = spec.label or _infer_label(columns, file)
  check_columns(dataclasses.replace(spec, label=label), columns, file)
  free = [name for name in columns if name not in (*label, *spec.drop) and not _INDEX.fullmatch(name)]
  numeric = spec.numeric
  if numeric is None:
    numeric = {name: mode for name in free if columns[name] and name not in (spec.categorical or ())}
  categorical = spec.categorical
  if categorical is None:
    categorical = tuple(name for name in free if name not in numeric)
  resolved = dataclasses.replace(spec, label=label, categorical=categorical, numeric=numeric)
  _check_parts(resolved, file)
  return resolved


def check_columns(spec: Spec, columns: dict[str, bool], file: str) -> None:
  """Raises ValueError naming the first column of the spec that `file` lacks, with the nearest names."""
  group = (spec.group,) if spec.group else ()
  named = [*spec.label, *(spec.categorical or ()), *(spec.numeric or ()), *spec.drop, *group]
  for name in named:
    if name not in columns:
      raise ValueError(f'{file}: no column {name!r}; {_hint(name, list(columns))}')


def _infer_label(columns: dict[str, bool], file: str) -> tuple[str, ...]:
  found = [name for name in columns if name.lower() in LABELS]
  if len(found) != 1:
    shown = ', '.join(map(repr, list(columns)[:8])) + (', ...' if len(columns) > 8 else '')
    seen = (f'several columns could be it ({", ".join(found)})' if found else
            f'none of {shown} is called {", ".join(LABELS)}')
    raise ValueError(f'{file}: which column is the label? {seen}; name it with "label" in a --spec '
                     'file, or the columns of a file without header with "columns"')
  return tuple(found)


def _check_parts(spec: Spec, file: str) -> None:
  parts = [*spec.label, *spec.categorical, *spec.numeric, *spec.drop]
  twice = {name for name in parts if parts.count(name) > 1}
  if twice:
    raise ValueError(f'{file}: the spec gives column {min(twice)!r} two parts')
  if not spec.categorical and not spec.numeric:
    raise ValueError(f'{file}: no column is left to be a feature')


def _parse(key: str, value: Any, mode: str, path: str) -> Any:
  if key in ('label', 'categorical', 'drop', 'columns'):
    value = [value] if isinstance(value, str) and key == 'label' else value
    if isinstance(value, list) and all(isinstance(name, str) for name in value) and len(set(value)) == len(value):
      return tuple(value)
    raise ValueError(f'{path}: {key}: expected a list of different column names')
  if key == 'numeric':
    value = dict.fromkeys(value, mode) if isinstance(value, list) else value
    if isinstance(value, dict) and all(m in MODES for m in value.values()):
      return value
    raise ValueError(f'{path}: numeric: expected a list of column names, or an object of names to {" or ".join(MODES)}')
  if value is None or isinstance(value, str):
    return value
  raise ValueError(f'{path}: {key}: expected text')


def _hint(name: str, known: list[str]) -> str:
  near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
  return f'did you mean {" or ".join(near)}?' if near else f'there are {", ".join(known)}'
