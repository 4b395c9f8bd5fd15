"""FeatureSchema: the fields of a data set, and where each one's rows live in the stacked table."""

import dataclasses
import itertools
import json
import pathlib
from typing import Any, Literal

from rec_sparse import typed

FORMAT_VERSION = 2
SPLITS = ('train', 'valid', 'test')


@dataclasses.dataclass(frozen=True)
class Field:
  """One input column."""

  name: str  # column name in the raw log
  kind: Literal['categorical', 'numeric']  # numeric: row 0 is multiplied by the value
  vocab_size: int  # rows of the table; numeric: 1, or 2 where row 1 stands for a missing value;
  # categorical: row 0 is out of vocabulary


@dataclasses.dataclass(frozen=True)
class Column:
  """What became of the raw column behind a field, and what the training rows held."""

  treatment: Literal['categorical', 'quantile', 'value', 'log_square']
  distinct: int  # different values, without missing ones
  exact: bool  # False: there were too many, `distinct` counts those that are told apart
  missing: int  # rows
  numbers: bool  # all values were numbers: 1, 1.0 and 1.00 are one value
  least: float | None = None  # of numbers
  most: float | None = None
  edges: tuple[float, ...] = ()  # quantile: rising; bucket k holds [edge k-1, edge k)
  low: float = 0.0  # value: (x within [low, high] - mean) / deviation
  high: float = 0.0
  mean: float = 0.0
  deviation: float = 1.0
  notes: tuple[str, ...] = ()  # warnings for people
  unknown: dict[str, int] = dataclasses.field(default_factory=dict)  # split -> unknown rows


@dataclasses.dataclass(frozen=True)
class Block:
  """One file of encoded records, relative to the dataset directory."""

  file: str  # for example train/00000.npy
  rows: int  # records in the file
  crc32: int  # zlib.crc32 of the whole file


@dataclasses.dataclass(frozen=True)
class Split:
  """The blocks of train, valid or test, in order; every block but the last has the same rows."""

  rows: int
  positives: tuple[int, ...]  # examples with label 1, per task
  blocks: tuple[Block, ...]


@dataclasses.dataclass(frozen=True)
class DimRun:
  """Table rows, one after another, whose embeddings have the same dimensions."""

  rows: int
  kept: str  # a character a dimension of the embedding: 1, or 0 where it is always zero


@dataclasses.dataclass(frozen=True)
class Teacher:
  """What the synthetic teacher knows: the best that any model can reach, in expectation."""

  logloss: float  # irreducible log loss, nats per example
  auc: float  # AUC of the true click probability


@dataclasses.dataclass(frozen=True)
class FeatureSchema:
  """Everything a model must know of its data; `schema.json` of a dataset directory is its JSON."""

  fields: tuple[Field, ...]  # categorical fields first, then numeric ones
  tasks: tuple[str, ...]  # label names, in the order of label_BxT
  group: str | None  # column whose values are the groups of GAUC; None: no groups
  splits: dict[str, Split]  # train, valid, test
  fingerprint: str  # SHA-256 over the sources and the options that made the data set
  source: dict  # how it was made: source kind, file names, options
  teacher: Teacher | None = None  # synthetic data only
  vocabulary: str = ''  # SHA-256 of what table rows and outputs stand for; '': not known
  columns: dict[str, Column] = dataclasses.field(default_factory=dict)  # by field; of raw logs only
  dim_runs: tuple[DimRun, ...] = ()  # of all table rows, by a plan; (): they have all dimensions
  # by a plan, of each cluster of examples a 1 for each entry of their embeddings that its network
  # reads, and a 0 for others; the first field then is the cluster, and no entry; (): no clusters
  clusters: tuple[str, ...] = ()
  format_version: int = FORMAT_VERSION

  @property
  def offsets(self) -> tuple[int, ...]:
    """First row of each field in the stacked table."""
    return tuple(itertools.accumulate((f.vocab_size for f in self.fields), initial=0))[:-1]

  @property
  def table_rows(self) -> int:
    """Rows of the stacked table, without padding."""
    return sum(f.vocab_size for f in self.fields)

  @property
  def numeric_count(self) -> int:
    """A of value_BxA: the last A fields are numeric."""
    return sum(f.kind == 'numeric' for f in self.fields)


def save_schema(schema: FeatureSchema, directory: pathlib.Path) -> None:
  """Writes `schema.json`; offsets are written too, for readers in other languages."""
  raw = dataclasses.asdict(schema)
  for field, offset in zip(raw['fields'], schema.offsets, strict=True):
    field['offset'] = offset
  (directory / 'schema.json').write_text(json.dumps(raw, indent=1) + '\n')


def load_schema(directory: pathlib.Path | str, needs: tuple[str, ...] = ()) -> FeatureSchema:
  """Reads `schema.json` of a data set that has the splits `needs`.

  Raises ValueError, naming the file and the entry, when it is missing, not JSON, of another format
  version, or inconsistent.
  """
  path = pathlib.Path(directory) / 'schema.json'
  try:
    raw = read_json(path)
  except FileNotFoundError:
    raise ValueError(
      f'{path}: not found; is this a dataset directory made by launch.prepare?'
    ) from None
  if raw.get('format_version') != FORMAT_VERSION:
    raise ValueError(
      f'{path}: format_version is {raw.get("format_version")!r}, this program reads '
      f'{FORMAT_VERSION}; make the data set again with launch.prepare'
    )
  try:
    offsets = [f.pop('offset') for f in raw['fields']]
    schema = typed.convert(FeatureSchema, raw)
    _check(schema)
  except (KeyError, TypeError, AttributeError):
    raise ValueError(
      f'{path}: not a schema that launch.prepare wrote (no fields with offsets)'
    ) from None
  except ValueError as e:
    raise ValueError(f'{path}: {e}') from None
  if tuple(offsets) != schema.offsets:
    raise ValueError(f'{path}: field offsets do not follow from the vocabulary sizes')
  for split in needs:
    if split not in schema.splits:
      raise ValueError(f'{path}: has no split {split!r}; it has {", ".join(schema.splits)} alone')
  return schema


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """Reads a JSON object; raises ValueError naming the file, and the line, when it holds anything
  else.
  """
  try:
    raw = json.loads(path.read_text(encoding='utf-8'))
  except json.JSONDecodeError as e:
    raise ValueError(f'{path}: line {e.lineno}: not JSON ({e.msg})') from None
  except UnicodeDecodeError:
    raise ValueError(f'{path}: not JSON (not UTF-8 text)') from None
  if not isinstance(raw, dict):
    raise ValueError(f'{path}: not a JSON object')
  return raw


def _check(schema: FeatureSchema) -> None:
  """Raises ValueError naming what contradicts itself."""
  names, kinds = [f.name for f in schema.fields], [f.kind for f in schema.fields]
  for what, given in (('fields', names), ('tasks', schema.tasks)):
    if not given:
      raise ValueError(f'{what} is empty')
    twice = [name for name, following in itertools.pairwise(sorted(given)) if name == following]
    if twice:
      raise ValueError(f'{what}: {twice[0]!r} is there twice')
  if kinds != sorted(kinds):
    raise ValueError('fields: categorical ones come first, then numeric ones')
  for field in schema.fields:
    if field.vocab_size < 1 or field.kind == 'numeric' and field.vocab_size > 2:
      raise ValueError(
        f'fields: {field.name!r} is {field.kind} and has vocab_size {field.vocab_size}'
      )
  if not schema.splits:
    raise ValueError('splits is empty')
  for name, split in schema.splits.items():
    if name not in SPLITS:
      raise ValueError(f'splits: {name!r} is not one of {", ".join(SPLITS)}')
    if split.rows < 1:
      raise ValueError(f'splits.{name}.rows is {split.rows}, expected at least 1')
    if len(split.positives) != len(schema.tasks):
      raise ValueError(
        f'splits.{name}.positives has {len(split.positives)} entries for {len(schema.tasks)} tasks'
      )
  if schema.dim_runs:
    _check_dims(schema)
  if schema.clusters:
    _check_clusters(schema)
  if schema.table_rows >= 2**31:
    raise ValueError(f'{schema.table_rows} table rows do not fit int32 ids')


def _check_dims(schema: FeatureSchema) -> None:
  """Raises ValueError where runs of dimensions are not those of the table."""
  rows = sum(run.rows for run in schema.dim_runs)
  if rows != schema.table_rows or min(run.rows for run in schema.dim_runs) < 1:
    raise ValueError(f'dim_runs: are of {rows} rows, the table has {schema.table_rows}')
  width = len(schema.dim_runs[0].kept)
  if not width or any(len(run.kept) != width or set(run.kept) - {*'01'} for run in schema.dim_runs):
    raise ValueError('dim_runs: kept is not a 0 or 1 for each dimension, of as many in each run')


def _check_clusters(schema: FeatureSchema) -> None:
  """Raises ValueError where clusters are not those of the first field, or of other embeddings."""
  first = schema.fields[0]
  if first.kind != 'categorical' or first.vocab_size != len(schema.clusters):
    raise ValueError(
      f'clusters: are {len(schema.clusters)}, the first field has {first.vocab_size} table rows'
    )
  entries = (len(schema.fields) - 1) * len(schema.dim_runs[0].kept if schema.dim_runs else '')
  if any(len(kept) != entries or set(kept) - {*'01'} for kept in schema.clusters):
    raise ValueError('clusters: expected a 0 or 1 for each dimension of each field but the first')
