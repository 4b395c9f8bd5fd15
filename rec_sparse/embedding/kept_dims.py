"""Embeddings of several widths in one table: a dimension that a row does not have is zero.

The table stays one array and a lookup one gather; what it gives is multiplied by the factors of
each row. A dimension of factor 0 gets no gradient, and as it starts at 0 it stays there, by every
optimizer: evaluation and export need no factors.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rec_sparse import schema as schema_lib
from rec_sparse.embedding import table as table_lib

PURPOSE = 'embedding'  # the columns of a row that have factors


class Selection(NamedTuple):
  """Factors of the dimensions of each row; rows of equal factors lie in runs."""

  first_J: np.ndarray  # int32: the first row of each run
  bin_J: np.ndarray  # int32: the bin that its rows are of
  factor_ZxD: Any  # float32: 0 or 1; in [0, 1] while they are searched


def of_schema(schema: schema_lib.FeatureSchema, dim: int) -> Selection | None:
  """What a data set says of embeddings of `dim` dimensions; None where it says nothing.

  Raises ValueError when it is about another number of dimensions.
  """
  if not schema.dim_runs:
    return None
  width = len(schema.dim_runs[0].kept)
  if width != dim:
    raise ValueError(
      f'embedding_dim={dim}: the plan of the data set is about {width} dimensions, so no other '
      'number will do'
    )
  bin_R = np.repeat(np.arange(len(schema.dim_runs)), [run.rows for run in schema.dim_runs])
  kept_ZxD = np.array([[kept == '1' for kept in run.kept] for run in schema.dim_runs])
  return of_bins(bin_R, kept_ZxD.astype(np.float32))


def of_bins(bin_R: np.ndarray, factor_ZxD: Any) -> Selection:
  """Factors by the bin of each row."""
  first_J = np.flatnonzero(np.diff(bin_R, prepend=-1)).astype(np.int32)
  return Selection(first_J, bin_R[first_J].astype(np.int32), factor_ZxD)


def factors(selection: Selection, ids_X: jax.Array) -> jax.Array:
  """factor_XxD of rows of the table."""
  run_X = jnp.searchsorted(jnp.asarray(selection.first_J), ids_X, side='right') - 1
  return jnp.asarray(selection.factor_ZxD)[jnp.asarray(selection.bin_J)[run_X]]


def times(selection: Selection | None, rows: table_lib.Rows, ids_BxF: jax.Array) -> table_lib.Rows:
  """What a lookup of the ids gave, times the factors of its rows."""
  if selection is None:
    return rows
  return rows | {PURPOSE: rows[PURPOSE] * factors(selection, ids_BxF)}


def cut(
  selection: Selection | None, placed: table_lib.Placed, table: table_lib.Table
) -> table_lib.Table:
  """A table in logical row order with zeros where a factor is 0."""
  if selection is None:
    return table
  ids_R = jnp.arange(table.rows_RxD.shape[0], dtype=jnp.int32)
  parts = table_lib.by_purpose(placed, table.rows_RxD)
  kept_RxD = factors(selection, ids_R) > 0
  parts[PURPOSE] = jnp.where(kept_RxD, parts[PURPOSE], jnp.zeros_like(parts[PURPOSE]))
  return table._replace(rows_RxD=jnp.concatenate(list(parts.values()), axis=1))


def cut_placed(
  selection: Selection | None, placed: table_lib.Placed, table: table_lib.Table
) -> table_lib.Table:
  """As `cut`, of a table as it is trained."""
  if selection is None:
    return table
  logical = cut(selection, placed, table_lib.to_logical(placed, table))
  return table_lib.from_logical(placed, logical)


def parameters(schema: schema_lib.FeatureSchema, columns: dict[str, int]) -> int:
  """Numbers of the table that are not always zero; `columns`: purpose -> width."""
  absent = sum(run.rows * run.kept.count('0') for run in schema.dim_runs)
  return schema.table_rows * sum(columns.values()) - absent
