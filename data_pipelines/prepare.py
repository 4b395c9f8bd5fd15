"""From raw logs to a dataset directory in two passes: count values on training rows, then encode every row."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import polars as pl
import tqdm

from data_pipelines import blocks
from data_pipelines import columns as columns_lib
from data_pipelines import delimited
from data_pipelines import libfm
from data_pipelines import parquet
from data_pipelines import raw
from data_pipelines import spec as spec_lib
from data_pipelines import split as split_lib
from data_pipelines import staging
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
  files: dict[str, list[str]]  # train and, if they exist, valid and test
  spec: spec_lib.Spec = spec_lib.Spec()
  numeric: str = 'bucket'  # or value: for numeric columns whose mode the spec leaves open
  min_count: int = 1  # training rows that a value must have to get its own id
  split_seed: int = 0  # decides which rows of train go to a missing split



def prepare(job: Job, out: pathlib.Path) -> tuple[schema_lib.FeatureSchema, bool]:
  """Makes the dataset directory `out`; returns its schema and whether it was made now (False: it was there already).

  Raises ValueError naming the file, line, column or flag of bad input; `out` then does not appear.
  """
  reader = READERS[job.source](job.spec)
  spec = _resolve(job, reader)
  options = dataclasses.asdict(spec) | {'kind': job.source, 'min_count': job.min_count, 'split_seed': job.split_seed}
  mark = staging.fingerprint(job.files, options | {'format_version': schema_lib.FORMAT_VERSION})
  if staging.is_made(out, mark):
    return schema_lib.load_schema(out), False
  with staging.directory(out) as directory:
    vocabularies, groups = _count(job, reader, spec)
    fields = _fields(spec, vocabularies)
    splits = _encode(job, reader, spec, vocabularies, groups, fields, directory)
    for name, table in vocabularies.items():
      vocabulary.save(table, directory, name)
    if groups is not None:
      groups.write_parquet(directory / 'groups.parquet')
    schema = schema_lib.FeatureSchema(
        fields=fields, tasks=spec.label, group=spec.group, splits=splits, fingerprint=mark,
        source=options | {'files': job.files})
    schema_lib.save_schema(schema, directory)
  return schema_lib.load_schema(out), True


def _resolve(job: Job, reader: raw.Reader) -> spec_lib.Spec:
  first = job.files['train'][0]
  spec = spec_lib.resolve(job.spec, reader.columns(first), first, job.numeric)
  for path in sum(job.files.values(), []):
    spec_lib.check_columns(spec, reader.columns(path), path)
  return spec


def _rows(job: Job, reader: raw.Reader, spec: spec_lib.Spec, splits: tuple[str, ...],
          doing: str) -> Iterator[tuple[np.ndarray, columns_lib.Columns]]:
  """Yields (split_B: index into SPLITS of each row, its columns) over the files of `splits`."""
  missing = [schema_lib.SPLITS.index(s) for s in schema_lib.SPLITS if s not in job.files]
  targets = np.array([0, *missing])
  with tqdm.tqdm(desc=doing, unit=' rows', unit_scale=True) as progress:
    for split in splits:
      first = 0
      for path in job.files.get(split, []):
        for chunk in reader.chunks(path):
          count = len(chunk.frame)
          if split == 'train':
            split_B = targets[split_lib.split_of_rows(first, count, len(missing), job.split_seed)]
          else:
            split_B = np.full(count, schema_lib.SPLITS.index(split))
          yield split_B, columns_lib.clean(chunk, spec)
          first += count
          progress.update(count)


def _count(job: Job, reader: raw.Reader, spec: spec_lib.Spec) -> tuple[dict[str, pl.DataFrame], pl.DataFrame | None]:
  """Pass 1: the vocabulary of each categorical field from training rows, and the groups from all rows."""
  names, _ = columns_lib.field_names(spec)
  counts, groups = dict.fromkeys(names, vocabulary.EMPTY), vocabulary.EMPTY
  splits = schema_lib.SPLITS if spec.group else ('train',)
  for split_B, columns in _rows(job, reader, spec, splits, 'counting values'):
    trained = columns.fields.filter(pl.Series(split_B == 0))
    counts = {name: vocabulary.count(counts[name], trained[name]) for name in names}
    if spec.group:
      groups = vocabulary.count(groups, columns.group)
  tables = {name: vocabulary.build(counts[name], job.min_count) for name in names}
  return tables, vocabulary.build_groups(groups) if spec.group else None


def _fields(spec: spec_lib.Spec, vocabularies: dict[str, pl.DataFrame]) -> tuple[schema_lib.Field, ...]:
  names, values = columns_lib.field_names(spec)
  fields = [schema_lib.Field(name, 'categorical', len(vocabularies[name])) for name in names]
  fields += [schema_lib.Field(name, 'numeric', 1) for name in values]
  rows = sum(f.vocab_size for f in fields)
  if rows >= 2**31:
    raise ValueError(f'--min_count: {rows} different values do not fit int32 ids; raise it')
  return tuple(fields)


def _encode(job: Job, reader: raw.Reader, spec: spec_lib.Spec, vocabularies: dict[str, pl.DataFrame],
            groups: pl.DataFrame | None, fields: tuple[schema_lib.Field, ...],
            directory: pathlib.Path) -> dict[str, schema_lib.Split]:
  """Pass 2: writes the blocks of every split."""
  numeric = sum(f.kind == 'numeric' for f in fields)
  dtype = blocks.record_dtype(len(fields), len(spec.label), numeric, groups is not None)
  writers = [blocks.BlockWriter(directory, split, dtype) for split in schema_lib.SPLITS]
  offset_F = np.cumsum([0, *(f.vocab_size for f in fields)])[:-1].astype(np.int32)
  for split_B, columns in _rows(job, reader, spec, schema_lib.SPLITS, 'encoding rows'):
    ids = [vocabulary.encode(columns.fields[name], vocabularies[name]) for name in columns.fields.columns]
    zeros = [np.zeros(len(split_B), np.int32)] * numeric
    ids_BxF = np.stack(ids + zeros, axis=1) + offset_F
    group_B = None if groups is None else vocabulary.encode(columns.group, groups, unknown=vocabulary.NO_GROUP)
    for split, writer in enumerate(writers):
      mine_B = split_B == split
      if mine_B.any():
        writer.append(ids_BxF[mine_B], columns.label_BxT[mine_B], columns.value_BxN[mine_B],
                      None if group_B is None else group_B[mine_B])
  splits = {split: writer.finish() for split, writer in zip(schema_lib.SPLITS, writers, strict=True)}
  for split, written in splits.items():
    if not written.rows:
      source = ', '.join(job.files.get(split, job.files['train']))
      raise ValueError(f'{source}: no rows for the {split} split')
  return splits
