"""A data set through a plan: fewer fields, table rows or dimensions, the same examples in order.

A plan with clusters adds a field in front, the cluster of each example as the plan has it.

What the plan drops of a field becomes the field's unknown row 0, in the blocks and in the
vocabulary alike, so raw logs are encoded as the blocks are, and nothing after this knows of plans.
"""

import dataclasses
import hashlib
import pathlib
import shutil

import numpy as np
import polars as pl
import tqdm

from data_pipelines import blocks
from data_pipelines import encoder as encoder_lib
from data_pipelines import staging
from data_pipelines import vocabulary
from rec_sparse import plan as plan_lib
from rec_sparse import schema as schema_lib

_PIECE_ROWS = 1 << 16
# of FeatureSchema.source: no longer true of fewer fields
_OF_WHOLE = ('realised_logloss', 'expected_logloss_error')


def prepare(
  plan_path: pathlib.Path, data: pathlib.Path, out: pathlib.Path
) -> tuple[schema_lib.FeatureSchema, bool]:
  """Makes the dataset directory `out`; returns its schema and whether it was made now.

  Raises ValueError when the plan is about another data set or leaves no field, or when a block is
  damaged; `out` then does not appear.
  """
  plan = plan_lib.load(plan_path)
  old = schema_lib.load_schema(data)
  plan_lib.check_fits(plan, old, f'--plan={plan_path}')
  if old.clusters:
    raise ValueError(
      f'--data={data}: a plan made clusters of its examples; such a plan is the last'
    )
  options = {'plan': plan.hash, 'plan_of': old.fingerprint}
  mark = staging.fingerprint({}, options | {'format_version': schema_lib.FORMAT_VERSION})
  if staging.is_made(out, mark):
    return schema_lib.load_schema(out), False

  fields = _fields(old, plan)
  clusters = plan_lib.clusters(plan)
  with staging.directory(out) as directory:
    splits, unknown = {}, {}
    for name in old.splits:
      splits[name], unknown[name] = _encode(data, old, plan, fields, name, directory)
    _cut_vocabularies(data, old, plan, directory)
    if (data / 'groups.parquet').is_file():
      shutil.copyfile(data / 'groups.parquet', directory / 'groups.parquet')
    source = {key: value for key, value in old.source.items() if key not in _OF_WHOLE}
    schema = dataclasses.replace(
      old,
      fields=fields,
      splits=splits,
      fingerprint=mark,
      source=_trimmed(source, [old.group, *(field.name for field in fields)]) | options,
      teacher=None,  # its loss is that of all values of all fields
      # no raw row says of which cluster it is
      columns={} if clusters else _columns(old, fields, unknown),
      dim_runs=plan_lib.dim_runs(plan, old),
      clusters=clusters,
    )
    digest = _digest(old, plan)
    if schema.columns:
      digest = encoder_lib.of_schema(schema, directory).digest
    schema_lib.save_schema(dataclasses.replace(schema, vocabulary=digest), directory)
  return schema_lib.load_schema(out), True


def _fields(old: schema_lib.FeatureSchema, plan: plan_lib.Plan) -> tuple[schema_lib.Field, ...]:
  """The fields that stay, with the rows that they keep; that of clusters comes first."""
  clusters = plan_lib.clusters(plan)
  fields = [schema_lib.Field('cluster', 'categorical', len(clusters))] if clusters else []
  for field, offset, kept in zip(old.fields, old.offsets, plan.arrays['kept_F'], strict=True):
    if kept:
      row_W = plan.arrays['row_R'][offset : offset + field.vocab_size]
      fields.append(dataclasses.replace(field, vocab_size=len(np.unique(row_W))))
  return tuple(fields)


def _encode(
  data: pathlib.Path,
  old: schema_lib.FeatureSchema,
  plan: plan_lib.Plan,
  fields: tuple[schema_lib.Field, ...],
  split: str,
  directory: pathlib.Path,
) -> tuple[schema_lib.Split, np.ndarray]:
  """Writes the blocks of a split -> (what the schema says of it, unknown rows of each field)."""
  kept_F = plan.arrays['kept_F']
  numeric = sum(field.kind == 'numeric' for field in fields)
  grouped = old.group is not None
  dtype = blocks.record_dtype(len(fields), len(old.tasks), numeric, grouped)
  opened = blocks.open_split(data, old, split)
  writer = blocks.BlockWriter(directory, split, dtype, opened.block_rows)
  first_F = np.cumsum([0, *(field.vocab_size for field in fields)])[:-1]
  cluster_E = plan.arrays.get(f'cluster_{split}')
  unknown_F = np.zeros(len(fields), np.int64)
  done = 0
  with tqdm.tqdm(desc=f'encoding {split}', total=opened.rows, unit=' rows', unit_scale=True) as bar:
    for records in opened.blocks:
      for start in range(0, len(records), _PIECE_ROWS):
        columns = blocks.columns_of(records[start : start + _PIECE_ROWS])
        ids_BxF = plan.arrays['row_R'][columns['ids_BxF'][:, kept_F]]
        if cluster_E is not None:
          cluster_B = cluster_E[done : done + len(ids_BxF), None].astype(np.int32)
          ids_BxF = np.concatenate([cluster_B, ids_BxF + fields[0].vocab_size], 1)
        done += len(ids_BxF)
        unknown_F += (ids_BxF == first_F).sum(0)
        value_BxA = None
        if numeric:
          value_BxA = columns['value_BxA'][:, kept_F[len(kept_F) - old.numeric_count :]]
        writer.append(ids_BxF, columns['label_BxT'], value_BxA, columns.get('group_B'))
        bar.update(len(ids_BxF))
  return writer.finish(), unknown_F


def _cut_vocabularies(
  data: pathlib.Path, old: schema_lib.FeatureSchema, plan: plan_lib.Plan, directory: pathlib.Path
) -> None:
  """Writes the vocabularies of the fields that stay, of the values that do."""
  for field, offset, kept in zip(old.fields, old.offsets, plan.arrays['kept_F'], strict=True):
    if not kept or not vocabulary.vocabulary_path(data, field.name).is_file():
      continue
    row_W = plan.arrays['row_R'][offset : offset + field.vocab_size]
    table = vocabulary.load(data, field.name).sort('id')
    vocabulary.save(_cut(table, row_W - row_W[0]), directory, field.name)


def _cut(table: pl.DataFrame, id_W: np.ndarray) -> pl.DataFrame:
  """A vocabulary, sorted by id, with the ids `id_W`; training rows of what gets id 0 add up."""
  stays = pl.Series(id_W != 0)
  dropped = int(table.filter(~stays)['count'].sum())
  ids = pl.Series('id', id_W.astype(np.int32))
  unknown = pl.DataFrame({'value': [None], 'id': [0], 'count': [dropped]}, schema=table.schema)
  return pl.concat([unknown, table.with_columns(ids).filter(stays)])


def _trimmed(source: dict, kept: list[str | None]) -> dict:
  """`FeatureSchema.source` without what it says of other columns than `kept`."""
  trimmed = dict(source)
  if isinstance(source.get('categorical'), list):
    trimmed['categorical'] = [name for name in source['categorical'] if name in kept]
  for key in ('numeric', 'missing'):
    if isinstance(source.get(key), dict):
      trimmed[key] = {name: value for name, value in source[key].items() if name in kept}
  return trimmed


def _columns(
  old: schema_lib.FeatureSchema,
  fields: tuple[schema_lib.Field, ...],
  unknown: dict[str, np.ndarray],
) -> dict[str, schema_lib.Column]:
  """What became of the raw columns; those of values that multiply an embedding stay as they are."""
  columns = {}
  for f, field in enumerate(fields):
    column = old.columns.get(field.name)
    if column is None:
      continue
    if field.kind == 'categorical':
      counts = {split: int(unknown_F[f]) for split, unknown_F in unknown.items()}
      column = dataclasses.replace(column, unknown=counts)
    columns[field.name] = column
  return columns


def _digest(old: schema_lib.FeatureSchema, plan: plan_lib.Plan) -> str:
  """`FeatureSchema.vocabulary` of data that were made of no raw log; '' where it is not known."""
  if not old.vocabulary:
    return ''
  digest = hashlib.sha256(old.vocabulary.encode())
  digest.update(plan.arrays['row_R'].tobytes())
  if 'kept_VxN' in plan.arrays:
    digest.update(plan.hash.encode())
  return digest.hexdigest()
