"""Random encoded rows in device memory, and their schema."""

from typing import Literal

import jax.numpy as jnp
import numpy as np

from data_pipelines import resident
from rec_sparse import schema as schema_lib

Draw = Literal['zipf', 'uniform']


def schema(fields: int, table_rows: int) -> schema_lib.FeatureSchema:
  """`fields` categorical fields that share `table_rows` rows evenly; one task."""
  share = table_rows // fields
  own = tuple(schema_lib.Field(f'field_{i}', 'categorical', share) for i in range(fields))
  return schema_lib.FeatureSchema(own, ('label',), None, {}, 'bench', {})


def draw(schema: schema_lib.FeatureSchema, rows: int, how: Draw, seed: int = 0) -> resident.Data:
  """`rows` random rows.

  'zipf': the id of rank r with a probability in proportion to 1 / r, the most frequent first.
  """
  rng = np.random.default_rng(seed)
  u_BxF = rng.random((rows, len(schema.fields)), np.float32)
  vocab = np.array([f.vocab_size for f in schema.fields])
  if how == 'zipf':
    ids_BxF = vocab[None] ** u_BxF - 1
  else:
    ids_BxF = u_BxF * vocab[None]
  ids_BxF = np.minimum(ids_BxF.astype(np.int32), vocab[None] - 1) + np.array(schema.offsets)[None]
  label_BxT = rng.integers(0, 2, (rows, 1), np.uint8)
  return {'ids_BxF': jnp.asarray(ids_BxF, jnp.int32), 'label_BxT': jnp.asarray(label_BxT)}
