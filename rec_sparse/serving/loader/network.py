"""An exported network: its module, its weights, and the fields that it reads."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import hashlib
import json
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import raw_values

FORMAT = 1
BATCH = 4096  # examples at a time, on an accelerator
CPU_BATCH = 256  # on a CPU: what a view holds of them stays in its cache

# (ids_BxF, value_BxA) -> logits_BxT, probability_BxT, on a device
Call = Callable[[np.ndarray, np.ndarray], tuple[jax.Array, jax.Array]]


class Encoded(NamedTuple):
  """Rows as the network reads them."""

  ids_BxF: np.ndarray  # int32, rows of the stacked table
  value_BxA: np.ndarray  # float32, of the numeric fields, which come last
  unknown_BxF: np.ndarray  # whether no row of the table stands for the value


class Scores(NamedTuple):
  """What the network says."""

  logit_BxT: np.ndarray  # float32
  probability_BxT: np.ndarray  # float32


@dataclasses.dataclass(frozen=True)
class Network:
  """An exported network on a device."""

  about: Mapping[str, Any]  # artifact.json
  encoders: Sequence[raw_values.Field]  # of each field; none where it was trained on no raw logs
  call: Call

  @property
  def tasks(self) -> list[str]:
    """What the columns of the outputs are the probabilities of."""
    return self.about['tasks']

  @property
  def fields(self) -> list[str]:
    """The columns of a raw row, in the order of ids_BxF."""
    return [field['name'] for field in self.about['fields']]

  def predict(self, columns: Mapping[str, Sequence[Any]]) -> np.ndarray:
    """probability_BxT of raw rows, given by column; raises as `encode` does."""
    encoded = self.encode(columns)
    return self.score(encoded.ids_BxF, encoded.value_BxA).probability_BxT

  def encode(self, columns: Mapping[str, Sequence[Any]]) -> Encoded:
    """Raw rows by column -> ids and values; columns that are no field are not looked at.

    Raises ValueError naming the column that is missing, or the row (from 0) and the column of a
    value that should be a number.
    """
    if not self.encoders:
      raise ValueError('the network was trained on encoded ids alone; give them to `score`')
    missing = [name for name in self.fields if name not in columns]
    if missing:
      raise ValueError(f'no column {missing[0]!r}; there are {", ".join(map(str, columns))}')
    rows = _rows({name: columns[name] for name in self.fields})
    found = [raw_values.encode(field, columns[field.about['name']]) for field in self.encoders]
    first_F = np.array([field.about['offset'] for field in self.encoders], np.int32)
    values = [of_field.value_B for of_field in found if of_field.value_B is not None]
    return Encoded(
      np.stack([of_field.id_B for of_field in found], 1) + first_F,
      np.stack(values, 1) if values else np.zeros((rows, 0), np.float32),
      np.stack([of_field.unknown_B for of_field in found], 1),
    )

  def score(self, ids_BxF: Any, value_BxA: Any = None) -> Scores:
    """Logits and probabilities of encoded rows; value_BxA where there are numeric fields.

    Raises ValueError for a wrong shape, or naming row and field of an id that is not the field's.
    """
    ids_BxF = np.asarray(ids_BxF, np.int32)
    rows = len(ids_BxF)
    values = numeric(self.about)
    if value_BxA is None:
      value_BxA = np.zeros((rows, 0), np.float32)
    value_BxA = np.asarray(value_BxA, np.float32)
    if ids_BxF.shape != (rows, len(self.fields)) or value_BxA.shape != (rows, values):
      raise ValueError(
        f'ids {ids_BxF.shape} and values {value_BxA.shape}, expected (rows, {len(self.fields)}) '
        f'and (rows, {values})'
      )
    _check_ids(self.about, ids_BxF)
    return in_batches(self.call, ids_BxF, value_BxA)


def load(directory: str | os.PathLike) -> Network:
  """Opens an artifact and moves its weights to jax's default device.

  Raises ValueError naming the file when it is missing, damaged, or of another format.
  """
  about = _read(directory)
  weights = []
  for name in about['network']['weights']:
    stored = np.load(os.path.join(directory, name), mmap_mode='r', allow_pickle=False)
    weights.append(jax.device_put(stored))
  encoders = [
    raw_values.open_field(directory, field) for field in about['fields'] if 'treatment' in field
  ]
  exported = _exported(directory, about, weights)
  return Network(about, encoders, functools.partial(jax.jit(exported.call), weights))


def batch_size() -> int:
  """Examples at a time, on jax's default device."""
  return CPU_BATCH if jax.default_backend() == 'cpu' else BATCH


def in_batches(call: Call, ids_BxF: np.ndarray, value_BxA: np.ndarray) -> Scores:
  """The scores of any number of rows."""
  parts = []
  size = batch_size()
  for start in range(0, max(len(ids_BxF), 1), size):
    part = slice(start, start + size)
    parts.append(dispatch(call, ids_BxF[part], value_BxA[part]))
  return fetch(parts)


class Dispatched(NamedTuple):
  """What a device has been told to compute, and may not have done yet."""

  rows: int  # the others are padding
  outputs: tuple[jax.Array, jax.Array]


def dispatch(call: Call, ids_BxF: np.ndarray, value_BxA: np.ndarray) -> Dispatched:
  """Some rows, padded to a power of two."""
  rows = len(ids_BxF)
  padding = (1 << max(rows - 1, 0).bit_length()) - rows
  ids_BxF, value_BxA = (np.pad(array, ((0, padding), (0, 0))) for array in (ids_BxF, value_BxA))
  return Dispatched(rows, call(ids_BxF, value_BxA))


def fetch(parts: Sequence[Dispatched]) -> Scores:
  """Waits for what was dispatched, and puts it together."""
  outputs = [[np.asarray(output)[: part.rows] for output in part.outputs] for part in parts]
  return Scores(*map(np.concatenate, zip(*outputs, strict=True)))


def lower(
  call: Callable[..., Any], weights: Any, about: Mapping[str, Any], platforms: Sequence[str]
) -> jax.export.Exported:
  """`call(weights, ids_BxF, value_BxA)` for these platforms and any B; all arguments are kept."""
  (batch,) = jax.export.symbolic_shape('b')
  return jax.export.export(jax.jit(call, keep_unused=True), platforms=platforms)(
    jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), weights),
    jax.ShapeDtypeStruct((batch, len(about['fields'])), jnp.int32),
    jax.ShapeDtypeStruct((batch, numeric(about)), jnp.float32),
  )


def _exported(
  directory: str | os.PathLike, about: Mapping[str, Any], weights: Sequence[jax.Array]
) -> jax.export.Exported:
  """The network: its module in the place of that of a function with the same signature.

  So an artifact holds StableHLO and JSON, which jax reads without other packages; what
  `Exported.serialize` writes needs flatbuffers.
  """
  network = about['network']

  def zeros(weights: Any, ids_BxF: jax.Array, value_BxA: jax.Array) -> tuple[jax.Array, jax.Array]:
    del weights, value_BxA
    zeros_BxT = jnp.zeros((ids_BxF.shape[0], len(about['tasks'])))
    return zeros_BxT, zeros_BxT

  like = lower(zeros, weights, about, network['platforms'])
  if like.calling_convention_version != network['calling_convention_version']:
    raise ValueError(
      f'{directory}: exported by jax {network["jax"]} with calling convention '
      f'{network["calling_convention_version"]}, jax {jax.__version__} here has '
      f'{like.calling_convention_version}'
    )
  with open(os.path.join(directory, network['file']), 'rb') as file:
    return dataclasses.replace(like, mlir_module_serialized=file.read())


def _read(directory: str | os.PathLike) -> dict[str, Any]:
  """artifact.json, once every file that it lists is found to be what was exported."""
  path = os.path.join(directory, 'artifact.json')
  try:
    with open(path, encoding='utf-8') as file:
      about = json.load(file)
    version = about['artifact_version']
  except FileNotFoundError:
    raise ValueError(f'{path}: not found; is this a directory made by launch.export?') from None
  except (ValueError, KeyError, TypeError):
    raise ValueError(f'{path}: damaged, or no artifact of launch.export') from None
  if version != FORMAT:
    raise ValueError(
      f'{path}: artifact of format {version!r}, this loader reads {FORMAT}; use the loader beside '
      'it, or export the run again'
    )
  for name, mark in about['files'].items():
    part = os.path.join(directory, name)
    if not os.path.isfile(part):
      raise ValueError(f'{part}: is missing')
    with open(part, 'rb') as file:
      if hashlib.file_digest(file, 'sha256').hexdigest() != mark:
        raise ValueError(f'{part}: is not what was exported')
  return about


def _rows(columns: Mapping[str, Sequence[Any]]) -> int:
  """How many rows the columns of all fields have."""
  for name, values in columns.items():
    if isinstance(values, str) or not hasattr(values, '__len__'):
      raise ValueError(f'{name}: {values!r} is one value; give a list, a value for each row')
  lengths = sorted({len(values) for values in columns.values()})
  if len(lengths) > 1:
    raise ValueError(f'columns have different lengths: {", ".join(map(str, lengths))}')
  return lengths[0]


def _check_ids(about: Mapping[str, Any], ids_BxF: np.ndarray) -> None:
  first_F = np.array([field['offset'] for field in about['fields']])
  end_F = first_F + np.array([field['rows'] for field in about['fields']])
  is_wrong_BxF = (ids_BxF < first_F) | (ids_BxF >= end_F)
  if is_wrong_BxF.any():
    row, f = np.argwhere(is_wrong_BxF)[0]
    name = about['fields'][f]['name']
    raise ValueError(
      f'row {row}: {name}: id {ids_BxF[row, f]} is not in [{first_F[f]}, {end_F[f]})'
    )


def numeric(about: Mapping[str, Any]) -> int:
  """A: fields whose rows are multiplied by a value."""
  return sum(field['kind'] == 'numeric' for field in about['fields'])
