"""The spec: which raw column plays which part.

It is a small JSON file; what it leaves out is inferred.
"""

from collections.abc import Sequence
import dataclasses
import difflib
import pathlib
import re
from typing import Any

from rec_sparse import schema as schema_lib
from rec_sparse import typed

LABELS = ('label', 'click', 'clicked', 'target', 'y')  # column names taken for the label
MODES = ('quantile', 'value', 'log_square')  # of a numeric column
MISSING = ('NaN', 'nan', 'NULL', 'null', 'NA', 'None', '\\N')  # beside the empty text
Names = tuple[str, ...]
_INDEX = re.compile(r'__index_level_\d+__|Unnamed: \d+|')  # written by pandas; never a feature


@dataclasses.dataclass(frozen=True)
class Spec:
  """Parts of the raw columns.

  As read from JSON, empty label, categorical and numeric are still to be inferred.
  """

  label: tuple[str, ...] = ()  # one column per task
  categorical: tuple[str, ...] | None = None
  # column -> quantile (ids of buckets of equally many training rows), value (standardised, times
  # an embedding) or log_square (Criteo protocols)
  numeric: dict[str, str] | None = None
  group: str | None = None  # groups of GAUC; may be a feature as well
  drop: tuple[str, ...] = ()
  columns: tuple[str, ...] | None = None  # names of all columns, for files without a header
  delimiter: str | None = None  # of csv
  # texts that mean missing, beside MISSING; empty: the empty text alone (NA is Namibia);
  # column -> exactly these there
  missing: tuple[str, ...] | dict[str, tuple[str, ...]] | None = None
  undecided: tuple[str, ...] = ()  # resolved specs: ids or numbers, as rows will say


@dataclasses.dataclass(frozen=True)
class SpecFile:
  """A spec as its JSON file has it, each key as in `Spec`."""

  label: Names | str = ()
  categorical: Names | None = None
  numeric: Names | dict[str, str] | None = None  # a list: all of the mode that --numeric names
  group: str | None = None
  drop: Names = ()
  columns: Names | None = None
  delimiter: str | None = None
  missing: Names | dict[str, Names] | None = None


KEYS = tuple(field.name for field in dataclasses.fields(SpecFile))


def read(path: str | None, mode: str) -> Spec:
  """Reads a spec file; numeric columns given as a list get `mode`.

  Raises ValueError naming file and key.
  """
  if path is None:
    return Spec()
  try:
    raw = schema_lib.read_json(pathlib.Path(path))
  except FileNotFoundError:
    raise ValueError(f'--spec={path}: no such file') from None
  for key in raw:
    if key not in KEYS:
      raise ValueError(f'{path}: unknown key {key!r}; {_hint(key, KEYS)}')
  return _of_file(raw, mode, path)


def of_source(source: dict[str, Any], path: str) -> Spec:
  """The settled spec that `FeatureSchema.source` of a data set holds among other things."""
  given = {key: source[key] for key in KEYS if source.get(key) is not None}
  return _of_file(given, '', path)


def _of_file(raw: dict[str, Any], mode: str, path: str) -> Spec:
  try:
    file = typed.convert(SpecFile, raw)
  except ValueError as e:
    raise ValueError(f'{path}: {e}') from None
  for key in ('label', 'categorical', 'drop', 'columns'):
    names = getattr(file, key)
    if isinstance(names, tuple) and len(set(names)) < len(names):
      raise ValueError(f'{path}: {key}: expected a list of different column names')

  label = (file.label,) if isinstance(file.label, str) else file.label
  numeric = file.numeric
  if isinstance(numeric, tuple):
    numeric = dict.fromkeys(numeric, mode)
  for name, its_mode in (numeric or {}).items():
    check_mode(its_mode, f'{path}: numeric: {name}')
  given = {field.name: getattr(file, field.name) for field in dataclasses.fields(file)}
  return Spec(**given | {'label': label, 'numeric': numeric})


def resolve(spec: Spec, columns: tuple[str, ...], file: str) -> Spec:
  """Fills in what the spec leaves out, from the `columns` of `file`.

  The label is the column called as in LABELS, all else is categorical. Unless the spec names the
  numeric columns, those that it does not name at all are undecided as well: `settle` is told what
  their training rows say. Raises ValueError naming the column when one is missing, plays two parts,
  or when no label is found.
  """
  label = spec.label or _infer_label(columns, file)
  check_columns(dataclasses.replace(spec, label=label), columns, file)

  numeric = spec.numeric or {}
  named = (*label, *spec.drop, *numeric)
  free = tuple(name for name in columns if name not in named and not _INDEX.fullmatch(name))
  undecided = ()
  if spec.numeric is None:
    listed = spec.categorical or ()
    undecided = tuple(name for name in free if name not in listed)

  resolved = dataclasses.replace(
    spec,
    label=label,
    categorical=free if spec.categorical is None else spec.categorical,
    numeric=numeric,
    undecided=undecided,
  )
  check_parts(resolved, file)
  return resolved


def settle(spec: Spec, numeric: list[str], mode: str, decided: list[str] | None = None) -> Spec:
  """A resolved spec of whose undecided columns `numeric` are numeric, in `mode`.

  The others are not, of those in `decided` (default: all). Where a spec lists its categorical
  columns there are no other ones.
  """
  decided = spec.undecided if decided is None else decided
  return dataclasses.replace(
    spec,
    categorical=tuple(name for name in spec.categorical if name not in numeric),
    numeric=spec.numeric | dict.fromkeys(numeric, mode),
    undecided=tuple(name for name in spec.undecided if name not in decided),
  )


def of_features(spec: Spec) -> Spec:
  """A settled spec of rows that are only to be scored: nothing but features has to be there."""
  features = (*spec.categorical, *spec.numeric)
  missing = spec.missing
  if isinstance(missing, dict):
    missing = {name: texts for name, texts in missing.items() if name in features}
  return dataclasses.replace(spec, label=(), group=None, drop=(), missing=missing)


def missing_of(spec: Spec, name: str) -> tuple[str, ...]:
  """The texts that mean missing in column `name`; the empty one always does."""
  if isinstance(spec.missing, dict):
    return ('', *spec.missing.get(name, MISSING))
  if spec.missing == ():
    return ('',)
  return ('', *MISSING, *(spec.missing or ()))


def check_mode(mode: str, where: str) -> None:
  """Raises ValueError when `mode` is none of a numeric column."""
  if mode == 'bucket':
    raise ValueError(
      f'{where}: bucket is called log_square now; the buckets of quantile follow the data'
    )
  if mode not in MODES:
    raise ValueError(f'{where}: {mode!r} is not one of {", ".join(MODES)}')


def check_columns(spec: Spec, columns: tuple[str, ...], file: str) -> None:
  """Checks that `file` has the columns that the spec names.

  Raises ValueError naming the first that it lacks, with the nearest names.
  """
  group = (spec.group,) if spec.group else ()
  missing = spec.missing if isinstance(spec.missing, dict) else ()
  named = [
    *spec.label,
    *(spec.categorical or ()),
    *(spec.numeric or ()),
    *spec.drop,
    *group,
    *missing,
  ]
  for name in named:
    if name not in columns:
      raise ValueError(f'{file}: no column {name!r}; {_hint(name, columns)}')


def _infer_label(columns: tuple[str, ...], file: str) -> tuple[str, ...]:
  candidates = [name for name in columns if name.lower() in LABELS]
  if len(candidates) == 1:
    return tuple(candidates)

  if candidates:
    seen = f'several columns could be it ({", ".join(candidates)})'
  else:
    shown = ', '.join(repr(name) for name in columns[:8])
    more = ', ...' if len(columns) > 8 else ''
    seen = f'none of {shown}{more} is called {", ".join(LABELS)}'
  raise ValueError(
    f'{file}: which column is the label? {seen}; name it with "label" in a --spec '
    'file, or the columns of a file without header with "columns"'
  )


def check_parts(spec: Spec, file: str) -> None:
  """Raises ValueError naming the column that plays two parts, or when there is no feature."""
  parts = [*spec.label, *spec.categorical, *spec.numeric, *spec.drop]
  twice = {name for name in parts if parts.count(name) > 1}
  if twice:
    raise ValueError(f'{file}: the spec gives column {min(twice)!r} two parts')
  if not spec.categorical and not spec.numeric and not spec.undecided:
    raise ValueError(f'{file}: no column is left to be a feature')


def _hint(name: str, known: Sequence[str]) -> str:
  near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
  return f'did you mean {" or ".join(near)}?' if near else f'there are {", ".join(known)}'
