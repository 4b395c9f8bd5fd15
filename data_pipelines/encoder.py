"""What turns clean columns into ids and values: learned now, or an older data set's."""

import dataclasses
import pathlib
from typing import NamedTuple

import numpy as np

from data_pipelines import columns as columns_lib
from data_pipelines import numbers
from data_pipelines import spec as spec_lib
from data_pipelines import treatment
from data_pipelines import vocabulary
from rec_sparse import schema as schema_lib


@dataclasses.dataclass(frozen=True)
class Encoder:
  """One encoding per field, in table order: categorical columns, bucketed ones, values."""

  spec: spec_lib.Spec  # resolved and settled
  made: dict[str, treatment.Made]

  @property
  def fields(self) -> tuple[schema_lib.Field, ...]:
    """The fields of the schema, in the order of the table."""
    fields = []
    for name, made in self.made.items():
      kind = 'numeric' if made.vocabulary is None else 'categorical'
      fields.append(schema_lib.Field(name, kind, treatment.table_rows(made)))
    return tuple(fields)

  @property
  def digest(self) -> str:
    """`FeatureSchema.vocabulary`."""
    meanings = {name: treatment.meaning(made) for name, made in self.made.items()}
    return vocabulary.digest(self.spec.label, meanings)


class Encoded(NamedTuple):
  """Rows as they are stored, but for the offsets of the fields."""

  ids_BxF: np.ndarray  # int32; row of the field
  value_BxA: np.ndarray  # float32
  unknown_BxF: np.ndarray  # whether no row of the table stands for the value


def learn(
  spec: spec_lib.Spec,
  seen: dict[str, treatment.Seen],
  min_count: int,
  buckets: int,
  inferred: list[str],
) -> Encoder:
  """The encoder of a settled spec, some numeric columns of which are inferred, from its rows."""
  modes = dict.fromkeys(spec.categorical, 'categorical') | spec.numeric
  bucketed = [name for name, mode in spec.numeric.items() if mode != 'value']
  values = [name for name, mode in spec.numeric.items() if mode == 'value']
  made = {}
  for name in (*spec.categorical, *bucketed, *values):
    made[name] = treatment.make(
      seen[name], modes[name], min_count, buckets, inferred=name in inferred
    )
  return Encoder(spec, made)


def ids_of(encoder: Encoder) -> dict[str, vocabulary.Encode]:
  """What finds the ids of each field that has a vocabulary; made once for all chunks."""
  vocabularies = {name: made.vocabulary for name, made in encoder.made.items()}
  return {
    name: vocabulary.encoder(table) for name, table in vocabularies.items() if table is not None
  }


def encode(
  encoder: Encoder, ids_of: dict[str, vocabulary.Encode], columns: columns_lib.Columns
) -> Encoded:
  """Encodes the rows of one chunk; `ids_of` is that of the encoder."""
  ids = []
  values = []
  unknown = []
  for name, (column, _) in encoder.made.items():
    if name in ids_of:
      id_B = ids_of[name](treatment.text(column, columns, name))
      unknown_B = id_B == 0
    else:
      number = columns.number[name]
      is_missing_B = number.is_null().to_numpy()
      id_B = (is_missing_B & (column.missing > 0)).astype(np.int32)
      value_B = numbers.scaled(number, treatment.scale(column))
      values.append(np.where(id_B == 1, np.float32(1), value_B))
      unknown_B = is_missing_B & (id_B == 0)
    ids.append(id_B)
    unknown.append(unknown_B)

  rows = len(columns.label_BxT)
  value_BxA = np.stack(values, axis=1) if values else np.zeros((rows, 0), np.float32)
  return Encoded(np.stack(ids, axis=1), value_BxA, np.stack(unknown, axis=1))


def save(encoder: Encoder, directory: pathlib.Path) -> None:
  """Writes the vocabularies; `schema.json` has the rest."""
  for name, made in encoder.made.items():
    if made.vocabulary is not None:
      vocabulary.save(made.vocabulary, directory, name)


def load(directory: pathlib.Path) -> Encoder:
  """The encoder of a dataset directory.

  Raises ValueError naming the file when it is damaged, or when the data set was made of no raw log.
  """
  schema = schema_lib.load_schema(directory)
  path = directory / 'schema.json'
  if not schema.columns:
    raise ValueError(f'{path}: was not made of raw logs, its vocabularies encode none')
  encoder = of_schema(schema, directory)
  if encoder.digest != schema.vocabulary:
    raise ValueError(f'{directory / "vocab"}: vocabularies are not those that {path} names')
  return encoder


def of_schema(schema: schema_lib.FeatureSchema, directory: pathlib.Path) -> Encoder:
  """The encoder that a schema of raw logs describes, with the vocabularies in `directory`."""
  spec = spec_lib.of_source(schema.source, str(directory / 'schema.json'))
  made = {}
  for name, column in schema.columns.items():
    table = None if column.treatment == 'value' else vocabulary.load(directory, name)
    made[name] = treatment.Made(column, table)
  return Encoder(spec, made)
