"""FeatureSchema: the fields of a data set, and where each one's rows live in the stacked table."""

import dataclasses
import itertools
import json
import pathlib
from typing import Literal

FORMAT_VERSION = 1
SPLITS = ('train', 'valid', 'test')


@dataclasses.dataclass(frozen=True)
class Field:
  """One input column."""

  name: str  # column name in the raw log
  kind: Literal['categorical', 'numeric']  # numeric: one row, multiplied by the value
  vocab_size: int  # rows of the table; categorical row 0 is out of vocabulary; 1 for numeric


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
    """N of value_BxN: the last N fields are numeric."""
    return sum(f.kind == 'numeric' for f in self.fields)


def save_schema(schema: FeatureSchema, directory: pathlib.Path) -> None:
  """Writes `schema.json`; offsets are written too, for readers in other languages."""
  raw = dataclasses.asdict(schema)
  for field, offset in zip(raw['fields'], schema.offsets, strict=True):
    field['offset'] = offset
  (directory / 'schema.json').write_text(json.dumps(raw, indent=1) + '\n')


def load_schema(directory: pathlib.Path | str) -> FeatureSchema:
  """Reads `schema.json`.

  Raises ValueError, naming the file, when it is missing, not JSON, of another format version, or inconsistent.
  """
  path = pathlib.Path(directory) / 'schema.json'
  try:
    raw = json.loads(path.read_text())
  except FileNotFoundError:
    raise ValueError(f'{path}: not found; is this a dataset directory made by launch.prepare?') from None
  except json.JSONDecodeError as e:
    raise ValueError(f'{path}: line {e.lineno}: not JSON ({e.msg})') from None
  if raw.get('format_version') != FORMAT_VERSION:
    raise ValueError(f'{path}: format_version is {raw.get("format_version")!r}, this program reads {FORMAT_VERSION}')
  try:
    offsets = [f.pop('offset') for f in raw['fields']]
    schema = FeatureSchema(**raw | {
        'fields': tuple(Field(**f) for f in raw['fields']),
        'tasks': tuple(raw['tasks']),
        'splits': {name: _split(split) for name, split in raw['splits'].items()},
        'teacher': raw['teacher'] and Teacher(**raw['teacher']),
    })
  except (KeyError, TypeError, AttributeError) as e:
    raise ValueError(f'{path}: not a schema that launch.prepare wrote ({e})') from None
  if tuple(offsets) != schema.offsets:
    raise ValueError(f'{path}: field offsets do not follow from the vocabulary sizes')
  if schema.table_rows >= 2**31:
    raise ValueError(f'{path}: {schema.table_rows} table rows do not fit int32 ids')
  return schema


def _split(raw: dict) -> Split:
  blocks = tuple(Block(**b) for b in raw['blocks'])
  return Split(rows=raw['rows'], positives=tuple(raw['positives']), blocks=blocks)
