"""A plan: what a search found, as one file of named arrays that says who made it and on which data.

Plans that choose among table rows hold

  kept_F   bool: the fields that stay
  row_R    int32: the new table row of each old one; -1 for the rows of fields that go

those that choose among dimensions of embeddings hold these too, with all fields and rows

  bin_R      int32: the bin of each table row
  kept_ZxD   bool: the dimensions that the rows of a bin have

those that make clusters of examples, each with entries of embeddings that its network reads, also

  kept_VxN       bool: those entries, N = F * D
  cluster_train  uint8: the cluster of each training row; also cluster_valid, cluster_test

and what else their maker wants to tell. `launch.prepare --plan` makes a compact data set of one.
"""

import dataclasses
import hashlib
import itertools
import json
import pathlib
from typing import Any

import numpy as np

from rec_sparse import schema as schema_lib
from rec_sparse import whole_file

FORMAT_VERSION = 1
_ABOUT = 'about'  # entry of the file that is no array of the plan


@dataclasses.dataclass(frozen=True)
class Plan:
  """What a search found."""

  made_by: dict[str, Any]  # the search and its settings: plain JSON
  data_fingerprint: str  # of the data set that it is about
  arrays: dict[str, np.ndarray]  # by name

  @property
  def hash(self) -> str:
    """SHA-256 in hexadecimal of all that the plan says."""
    digest = hashlib.sha256(_about(self).encode())
    for name, array in sorted(self.arrays.items()):
      digest.update(f'{name} {array.dtype.str} {array.shape}\n'.encode())
      digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def save(plan: Plan, path: pathlib.Path) -> None:
  """Writes the plan as one .npz file, whole or not at all."""
  with whole_file.replacing(path) as temporary, temporary.open('wb') as file:
    np.savez_compressed(file, **plan.arrays, **{_ABOUT: np.array([_about(plan), plan.hash])})


def load(path: pathlib.Path) -> Plan:
  """Reads what `save` wrote; raises ValueError naming the file when it is damaged or no plan."""
  if not path.is_file():
    raise ValueError(
      f'{path}: not found; is it a plan made by launch.select, launch.dims or launch.clusters?'
    )
  try:
    with path.open('rb') as raw, np.load(raw, allow_pickle=False) as file:
      arrays = {name: file[name] for name in file.files}
    said, mark = arrays.pop(_ABOUT).tolist()
    about = json.loads(said)
  except (*whole_file.NPZ_DAMAGE, TypeError, AttributeError) as e:
    raise ValueError(f'{path}: damaged, or not a plan ({e})') from None
  if about['format_version'] != FORMAT_VERSION:
    raise ValueError(
      f'{path}: format_version is {about["format_version"]!r}, this program reads '
      f'{FORMAT_VERSION}; make the plan again'
    )
  plan = Plan(about['made_by'], about['data_fingerprint'], arrays)
  if plan.hash != mark:
    raise ValueError(f'{path}: damaged (its contents are not those that its hash names)')
  return plan


def check_fits(plan: Plan, schema: schema_lib.FeatureSchema, where: str) -> None:
  """Raises ValueError when the plan is about other data than `schema`, or keeps no field.

  `where` names the plan in the sentence.
  """
  if plan.data_fingerprint != schema.fingerprint:
    raise ValueError(
      f'{where}: is about another data set (fingerprint {plan.data_fingerprint[:12]}, this one is '
      f'{schema.fingerprint[:12]})'
    )
  if not {'kept_F', 'row_R'} <= plan.arrays.keys():
    raise ValueError(f'{where}: does not choose among fields and rows, so no data set follows')
  if not plan.arrays['kept_F'].any():
    raise ValueError(f'{where}: leaves no field')


def keep_rows(schema: schema_lib.FeatureSchema, kept_R: np.ndarray) -> dict[str, np.ndarray]:
  """`kept_F` and `row_R` of the plan that keeps the table rows where `kept_R` is True.

  The first row of a field, which stands for unknown values, is shared by the rows that go. A
  categorical field of which no other row stays goes altogether; so does a numeric one without any.
  """
  kept_F = []
  row_R = np.full(schema.table_rows, -1, np.int32)
  first = 0
  for field, offset in zip(schema.fields, schema.offsets, strict=True):
    kept_W = kept_R[offset : offset + field.vocab_size].copy()
    known_W = kept_W if field.kind == 'numeric' else kept_W[1:]
    kept_F.append(bool(known_W.any()))
    if not known_W.any():
      continue
    if field.kind == 'numeric':
      kept_W[:] = True
    kept_W[0] = True
    new_W = np.where(kept_W, np.cumsum(kept_W) - 1, 0)
    row_R[offset : offset + field.vocab_size] = first + new_W
    first += int(kept_W.sum())
  return {'kept_F': np.array(kept_F), 'row_R': row_R}


def keep_fields(schema: schema_lib.FeatureSchema, fields: list[int]) -> dict[str, np.ndarray]:
  """`kept_F` and `row_R` of the plan that keeps these fields with all of their rows."""
  sizes_F = [field.vocab_size for field in schema.fields]
  kept_F = np.isin(np.arange(len(sizes_F)), fields)
  row_R = np.where(np.repeat(kept_F, sizes_F), np.cumsum(np.repeat(kept_F, sizes_F)) - 1, -1)
  return {'kept_F': kept_F, 'row_R': row_R.astype(np.int32)}


def keep_dims(
  schema: schema_lib.FeatureSchema, bin_R: np.ndarray, kept_ZxD: np.ndarray
) -> dict[str, np.ndarray]:
  """Arrays of the plan that keeps all fields and rows, and of each row the dimensions of its bin.

  Raises ValueError when no row has any.
  """
  if not kept_ZxD[bin_R].any():
    raise ValueError('the plan would keep no dimension of any embedding')
  every = keep_fields(schema, list(range(len(schema.fields))))
  return every | {'bin_R': bin_R.astype(np.int32), 'kept_ZxD': kept_ZxD.astype(bool)}


def keep_clusters(
  schema: schema_lib.FeatureSchema, kept_VxN: np.ndarray, cluster_E: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Arrays of the plan that keeps all rows, and of a field the dimensions that any cluster reads.

  `cluster_E`: split -> cluster of each row. Raises ValueError naming a cluster that reads nothing.
  """
  if not kept_VxN.any(1).all():
    empty = int(np.flatnonzero(~kept_VxN.any(1))[0])
    raise ValueError(f'the network of cluster {empty} would read no entry; keep more')
  field_R = np.repeat(np.arange(len(schema.fields)), [field.vocab_size for field in schema.fields])
  read_FxD = kept_VxN.any(0).reshape(len(schema.fields), -1)
  own = {f'cluster_{split}': own_E.astype(np.uint8) for split, own_E in cluster_E.items()}
  return keep_dims(schema, field_R, read_FxD) | {'kept_VxN': kept_VxN.astype(bool)} | own


def clusters(plan: Plan) -> tuple[str, ...]:
  """`FeatureSchema.clusters` of the compact data set; () of a plan without clusters."""
  kept_VxN = plan.arrays.get('kept_VxN', np.zeros((0, 0), bool)).tolist()
  return tuple(''.join('01'[kept] for kept in kept_N) for kept_N in kept_VxN)


def dim_runs(plan: Plan, schema: schema_lib.FeatureSchema) -> tuple[schema_lib.DimRun, ...]:
  """Dimensions of the rows of the compact data set that `plan` makes of data of `schema`.

  A plan that says nothing of dimensions leaves those of the data as they are. A row that several
  share has those of the first of them.
  """
  if 'kept_ZxD' in plan.arrays:
    bin_R = plan.arrays['bin_R']
    texts = [''.join('01'[kept] for kept in kept_D) for kept_D in plan.arrays['kept_ZxD'].tolist()]
  elif schema.dim_runs:
    bin_R = np.repeat(np.arange(len(schema.dim_runs)), [run.rows for run in schema.dim_runs])
    texts = [run.kept for run in schema.dim_runs]
  else:
    return ()
  stays_R = plan.arrays['row_R'] >= 0
  _, first_R = np.unique(plan.arrays['row_R'][stays_R], return_index=True)
  of_row = (texts[z] for z in bin_R[stays_R][first_R])
  runs = [schema_lib.DimRun(len(list(run)), kept) for kept, run in itertools.groupby(of_row)]
  if 'kept_VxN' in plan.arrays:  # rows of the field that routes have no dimension
    runs.insert(0, schema_lib.DimRun(len(plan.arrays['kept_VxN']), '0' * len(runs[0].kept)))
  return tuple(runs)


def _about(plan: Plan) -> str:
  about = {
    'format_version': FORMAT_VERSION,
    'made_by': plan.made_by,
    'data_fingerprint': plan.data_fingerprint,
  }
  return json.dumps(about, sort_keys=True)
