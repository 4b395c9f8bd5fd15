"""From raw logs to a dataset directory, in two passes.

The first counts values on training rows, the second encodes every row.
"""

from collections.abc import Callable, Iterator
import dataclasses
import pathlib
from typing import NamedTuple

import numpy as np
import polars as pl
import tqdm

from data_pipelines import blocks
from data_pipelines import columns as columns_lib
from data_pipelines import delimited
from data_pipelines import encoder as encoder_lib
from data_pipelines import libfm
from data_pipelines import parquet
from data_pipelines import raw
from data_pipelines import spec as spec_lib
from data_pipelines import split as split_lib
from data_pipelines import staging
from data_pipelines import treatment
from data_pipelines import vocabulary
from rec_sparse import schema as schema_lib

READERS: dict[str, Callable[[spec_lib.Spec], raw.Reader]] = {
  'libfm': lambda spec: libfm.reader(spec.columns),
  'csv': lambda spec: delimited.reader(spec.columns, spec.delimiter),
  'parquet': lambda spec: parquet.reader(),
}


@dataclasses.dataclass(frozen=True)
class Job:
  """What to prepare, and how."""

  source: str  # a name of READERS
  files: dict[str, list[str]]  # train and, if they exist, valid and test; with vocab_from any one
  spec: spec_lib.Spec = spec_lib.Spec()
  numeric: str = 'quantile'  # a mode of spec.py, for numeric columns that the spec gives none
  buckets: int = 64  # of quantile columns: fine for a smooth effect, rows enough for each
  min_count: int = 1  # training rows that a value must have to get its own id
  split_seed: int = 0  # decides which rows of train go to a missing split
  vocab_from: pathlib.Path | None = None  # a data set that decides all but source and files


def prepare(job: Job, out: pathlib.Path) -> tuple[schema_lib.FeatureSchema, bool]:
  """Makes the dataset directory `out`; returns its schema and whether it was made now.

  It was not where it was there already. Raises ValueError naming the file, line, column or flag of
  bad input; `out` then does not appear.
  """
  old = None if job.vocab_from is None else encoder_lib.load(job.vocab_from)
  spec = job.spec if old is None else old.spec
  reader = READERS[job.source](spec)
  columns = _columns(job, reader)
  job = dataclasses.replace(job, files=_with_rows(job, columns))
  if old is None:
    spec = _resolve(job, columns)
  for path, names in columns.items():
    spec_lib.check_columns(spec, names, path)

  options = _options(job, spec, old) | {'format_version': schema_lib.FORMAT_VERSION}
  mark = staging.fingerprint(job.files, options)
  if staging.is_made(out, mark):
    return schema_lib.load_schema(out), False

  with staging.directory(out) as directory:
    encoder, groups = _count(job, reader, spec, old)
    splits, unknown = _encode(job, reader, encoder, groups, directory)
    encoder_lib.save(encoder, directory)
    if groups is not None:
      groups.write_parquet(directory / 'groups.parquet')
    schema = schema_lib.FeatureSchema(
      fields=encoder.fields,
      tasks=spec.label,
      group=spec.group,
      splits=splits,
      fingerprint=mark,
      source=_options(job, encoder.spec, old) | {'files': job.files},
      vocabulary=encoder.digest,
      columns={
        name: dataclasses.replace(made.column, unknown=unknown[name])
        for name, made in encoder.made.items()
      },
    )
    schema_lib.save_schema(schema, directory)
  return schema_lib.load_schema(out), True


def _columns(job: Job, reader: raw.Reader) -> dict[str, tuple[str, ...]]:
  """The columns of each file that has rows; raises ValueError when a split has none."""
  columns = {}
  for paths in job.files.values():
    empty = None
    for path in paths:
      try:
        columns[path] = reader.columns(path)
      except raw.Empty as e:
        empty = empty or e
    if empty and not any(path in columns for path in paths):
      raise empty
  return columns


def _with_rows(job: Job, columns: dict[str, tuple[str, ...]]) -> dict[str, list[str]]:
  """The files of each split without those that have no rows, which are told."""
  files = {}
  for split, paths in job.files.items():
    files[split] = [path for path in paths if path in columns]
    empty = [path for path in paths if path not in columns]
    raw.note_skipped(empty, split, 'files without rows')
  return files


def _resolve(job: Job, columns: dict[str, tuple[str, ...]]) -> spec_lib.Spec:
  first = job.files['train'][0]
  spec = spec_lib.resolve(job.spec, columns[first], first)
  for name in (*spec.categorical, *spec.numeric, *spec.undecided):
    vocabulary.check_name(name)
  return spec


def _options(job: Job, spec: spec_lib.Spec, old: encoder_lib.Encoder | None) -> dict:
  """What makes the data set, beside the files."""
  options = dataclasses.asdict(spec) | {'kind': job.source}
  if old is not None:
    return options | {'vocab_from': old.digest}
  return options | {
    'mode': job.numeric,
    'buckets': job.buckets,
    'min_count': job.min_count,
    'split_seed': job.split_seed,
  }


def _made_splits(job: Job) -> list[str]:
  """All, of which missing ones are cut from train; with vocab_from those that have files."""
  if job.vocab_from:
    return [split for split in schema_lib.SPLITS if split in job.files]
  return list(schema_lib.SPLITS)


def _rows(
  job: Job, reader: raw.Reader, splits: tuple[str, ...], doing: str
) -> Iterator[tuple[np.ndarray, raw.Chunk]]:
  """Yields (split_B: index into SPLITS of each row, chunk) over the files of `splits`."""
  cut = [split for split in _made_splits(job) if split not in job.files]
  targets = np.array([0, *(schema_lib.SPLITS.index(split) for split in cut)])
  with tqdm.tqdm(desc=doing, unit=' rows', unit_scale=True) as progress:
    for split in splits:
      first = 0
      for path in job.files.get(split, []):
        for chunk in reader.chunks(path):
          count = len(chunk.frame)
          split_B = np.full(count, schema_lib.SPLITS.index(split))
          if split == 'train':
            split_B = targets[split_lib.split_of_rows(first, count, len(cut), job.split_seed)]
          yield split_B, chunk
          first += count
          progress.update(count)


def _count(
  job: Job, reader: raw.Reader, spec: spec_lib.Spec, old: encoder_lib.Encoder | None
) -> tuple[encoder_lib.Encoder, pl.DataFrame | None]:
  """Pass 1: what training rows say of each column, if not known of `old`, and the groups of all."""
  seen = {}
  splits = ()
  if old is None:
    seen = dict.fromkeys((*spec.categorical, *spec.undecided), treatment.TEXTS)
    seen |= dict.fromkeys(spec.numeric, treatment.NUMBERS)
    splits = ('train',)
  if spec.group:
    splits = schema_lib.SPLITS

  reading = spec
  groups = vocabulary.EMPTY
  for split_B, chunk in _rows(job, reader, splits, 'counting values'):
    columns = columns_lib.clean(chunk, reading)
    is_trained = pl.Series(split_B == 0)
    values = columns.text | columns.number
    for name in values.keys() & seen.keys():
      seen[name] = treatment.see(seen[name], values[name].filter(is_trained))
    seen, reading = _decide_crowded(job, seen, reading)
    if spec.group:
      groups = vocabulary.count(groups, columns.group)

  encoder = old or _learn(job, spec, seen)
  if not spec.group:
    return encoder, None
  return encoder, vocabulary.build_groups(groups)


def _decide_crowded(
  job: Job, seen: dict[str, treatment.Seen], reading: spec_lib.Spec
) -> tuple[dict[str, treatment.Seen], spec_lib.Spec]:
  """Columns with too many values to keep are read as numbers from here on, or are ids for good."""
  seen = dict(seen)
  decided = []
  for name in reading.undecided:
    if treatment.is_crowded(seen[name]):
      seen[name] = treatment.merged(seen[name])
    if treatment.is_crowded(seen[name]):
      decided.append(name)

  numeric = []
  for name in decided:
    if treatment.is_numeric(seen[name], name not in reading.categorical, job.buckets):
      seen[name] = treatment.as_numbers(seen[name])
      numeric.append(name)
  if not decided:
    return seen, reading
  return seen, spec_lib.settle(reading, numeric, job.numeric, decided)


def _learn(job: Job, spec: spec_lib.Spec, seen: dict[str, treatment.Seen]) -> encoder_lib.Encoder:
  numeric = [
    name
    for name in spec.undecided
    if treatment.is_numeric(seen[name], name not in spec.categorical, job.buckets)
  ]
  settled = spec_lib.settle(spec, numeric, job.numeric)
  spec_lib.check_parts(settled, job.files['train'][0])

  encoder = encoder_lib.learn(settled, seen, job.min_count, job.buckets, numeric)
  rows = sum(field.vocab_size for field in encoder.fields)
  if rows >= 2**31:
    raise ValueError(f'--min_count: {rows} different values do not fit int32 ids; raise it')
  return encoder


def _encode(
  job: Job,
  reader: raw.Reader,
  encoder: encoder_lib.Encoder,
  groups: pl.DataFrame | None,
  directory: pathlib.Path,
) -> tuple[dict[str, schema_lib.Split], dict[str, dict[str, int]]]:
  """Pass 2: writes the blocks -> (splits, of each field the rows out of vocabulary by split)."""
  fields = encoder.fields
  numeric = sum(field.kind == 'numeric' for field in fields)
  dtype = blocks.record_dtype(len(fields), len(encoder.spec.label), numeric, groups is not None)
  made = _made_splits(job)
  writers = {split: blocks.BlockWriter(directory, split, dtype) for split in made}
  unknown_F = {split: np.zeros(len(fields), np.int64) for split in made}

  for split_B, rows in _encoded(job, reader, encoder, groups):
    for split, writer in writers.items():
      mine_B = split_B == schema_lib.SPLITS.index(split)
      if mine_B.any():
        mine = rows.of(mine_B)
        unknown_F[split] += mine.unknown_BxF.sum(0)
        writer.append(mine.ids_BxF, mine.label_BxT, mine.value_BxA, mine.group_B)

  splits = {split: writer.finish() for split, writer in writers.items()}
  for split, written in splits.items():
    if not written.rows:
      source = ', '.join(job.files.get(split, job.files.get('train')))
      raise ValueError(f'{source}: no rows for the {split} split')
  unknown = {}
  for f, field in enumerate(fields):
    unknown[field.name] = {split: int(unknown_F[split][f]) for split in made}
  return splits, unknown


class _Rows(NamedTuple):
  """Encoded rows of one chunk, as a block holds them."""

  ids_BxF: np.ndarray  # offset into the stacked table
  label_BxT: np.ndarray
  value_BxA: np.ndarray
  unknown_BxF: np.ndarray  # whether no row of the table stands for the value
  group_B: np.ndarray | None

  def of(self, mine_B: np.ndarray) -> '_Rows':
    """Those where `mine_B` is True."""
    return _Rows(*(None if column is None else column[mine_B] for column in self))


def _encoded(
  job: Job, reader: raw.Reader, encoder: encoder_lib.Encoder, groups: pl.DataFrame | None
) -> Iterator[tuple[np.ndarray, _Rows]]:
  """Yields (split_B: index into SPLITS of each row, rows) over all files."""
  sizes = [field.vocab_size for field in encoder.fields]
  offset_F = np.cumsum([0, *sizes])[:-1].astype(np.int32)
  ids_of = encoder_lib.ids_of(encoder)
  encode_group = None
  if groups is not None:
    encode_group = vocabulary.encoder(groups, vocabulary.NO_GROUP)

  for split_B, chunk in _rows(job, reader, schema_lib.SPLITS, 'encoding rows'):
    columns = columns_lib.clean(chunk, encoder.spec)
    encoded = encoder_lib.encode(encoder, ids_of, columns)
    yield (
      split_B,
      _Rows(
        ids_BxF=encoded.ids_BxF + offset_F,
        label_BxT=columns.label_BxT,
        value_BxA=encoded.value_BxA,
        unknown_BxF=encoded.unknown_BxF,
        group_B=encode_group(columns.group) if encode_group else None,
      ),
    )
