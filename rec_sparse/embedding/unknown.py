"""Row 0 of a field stands for values out of vocabulary.

Where every training value has a row of its own, no example would train row 0: it would keep its
random start, and unseen values would share it. So in training a share of the known values reads it.
"""

import jax
import jax.numpy as jnp
import numpy as np

from rec_sparse import schema as schema_lib

_STREAM = 1  # of random numbers, beside those of dropout


def untrained_rows(schema: schema_lib.FeatureSchema, share: float) -> np.ndarray | None:
  """Row 0 of each field that training leaves alone, else -1, int32 (F,); None: no such row.

  That is of fields of raw logs (elsewhere no value is unknown) of whose training rows less than
  `share` read row 0.
  """
  rows = schema.splits['train'].rows if 'train' in schema.splits else 0
  row_F = np.full(len(schema.fields), -1, np.int32)
  for f, field in enumerate(schema.fields):
    column = schema.columns.get(field.name)
    if field.kind == 'categorical' and column and column.unknown.get('train', 0) < share * rows:
      row_F[f] = schema.offsets[f]
  return row_F if (row_F >= 0).any() else None


def drop(
  ids_BxF: jax.Array, weight_B: jax.Array, row_F: np.ndarray | None, share: float, key: jax.Array
) -> jax.Array:
  """The ids, of which a share is replaced with the row of its field in `row_F`.

  Padding (weight 0) keeps its ids: it must touch no row that no example of the batch touches.
  """
  if row_F is None:
    return ids_BxF
  row_1xF = jnp.asarray(row_F)[None]
  is_dropped_BxF = jax.random.bernoulli(jax.random.fold_in(key, _STREAM), share, ids_BxF.shape)
  is_replaced_BxF = is_dropped_BxF & (row_1xF >= 0) & (weight_B[:, None] > 0)
  return jnp.where(is_replaced_BxF, row_1xF, ids_BxF)
