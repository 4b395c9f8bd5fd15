"""A prepared data set's training rows as FuxiCTR reads them.

That is columns, and the feature map that describes them.
"""

import json
import pathlib

import numpy as np
import polars as pl

from data_pipelines import blocks
from rec_sparse import schema as schema_lib


def check(schema: schema_lib.FeatureSchema) -> None:
  """Raises ValueError where a field is numeric or tasks are several: the networks have neither."""
  if schema.numeric_count or len(schema.tasks) != 1:
    raise ValueError('expected categorical fields and one task')


def write(
  split: blocks.OpenSplit, schema: schema_lib.FeatureSchema, dim: int, directory: pathlib.Path
) -> None:
  """Writes train.npz, train.parquet and two JSON files; ids count from 0 in each field."""
  data = blocks.read_all(split)
  local_BxF = data['ids_BxF'] - np.array(schema.offsets, np.int32)[None]
  columns = {f'f{i}': local_BxF[:, i].astype(np.int64) for i in range(len(schema.fields))}
  columns['label'] = data['label_BxT'][:, 0].astype(np.int64)
  np.savez(directory / 'train.npz', **columns)
  pl.DataFrame(columns).write_parquet(directory / 'train.parquet')

  features = []
  for i, field in enumerate(schema.fields):
    feature = {
      'type': 'categorical',
      'source': '',
      'padding_idx': 0,
      'vocab_size': field.vocab_size,
    }
    features.append({f'f{i}': feature})
  feature_map = {
    'dataset_id': 'peer',
    'num_fields': len(features),
    'total_features': schema.table_rows,
    'input_length': len(features),
    'labels': ['label'],
    'features': features,
  }
  (directory / 'feature_map.json').write_text(json.dumps(feature_map))
  (directory / 'params.json').write_text(json.dumps({'embedding_dim': dim}))
