"""Encoded blocks on disk: one .npy file of fixed-size records per block.

They are memory-mapped, and rows are gathered from them in any order.
"""

import dataclasses
import pathlib
from typing import NamedTuple
import zlib

import numpy as np

from rec_sparse import schema as schema_lib

BLOCK_ROWS = 1 << 20  # rows of every block but the last
_PIECE_ROWS = 1 << 16  # verified at a time

# ids_BxF int32, label_BxT; if the data set has them value_BxA float32, group_B int32
Batch = dict[str, np.ndarray]


def record_dtype(fields: int, tasks: int, numeric: int, grouped: bool) -> np.dtype:
  """One encoded row: ids (F,), label (T,) and, if the data set has them, value (A,) and group.

  ids are int32 and already offset into the stacked table, label uint8, value float32, group int32.
  The record is padded to a multiple of four bytes, so that every column stays aligned.
  """
  parts = [('ids', np.int32, (fields,)), ('label', np.uint8, (tasks,))]
  if numeric:
    parts.append(('value', np.float32, (numeric,)))
  if grouped:
    parts.append(('group', np.int32))
  return np.dtype(parts, align=True)


class BlockWriter:
  """Streams records of one split into `directory/name/00000.npy` and on.

  One block at a time is in memory.
  """

  def __init__(
    self, directory: pathlib.Path, name: str, dtype: np.dtype, block_rows: int = BLOCK_ROWS
  ):
    self._directory = directory
    self._name = name
    self._buffer = np.zeros(block_rows, dtype)
    self._filled = 0
    self._blocks: list[schema_lib.Block] = []
    self._positives = np.zeros(dtype['label'].shape, np.int64)
    (directory / name).mkdir(parents=True, exist_ok=True)

  def append(
    self,
    ids_BxF: np.ndarray,
    label_BxT: np.ndarray,
    value_BxA: np.ndarray | None = None,
    group_B: np.ndarray | None = None,
  ) -> None:
    """Adds rows; ids are already offset. Every column of the record must be given."""
    columns = {'ids': ids_BxF, 'label': label_BxT, 'value': value_BxA, 'group': group_B}
    self._positives += np.asarray(label_BxT, np.int64).sum(0)
    start = 0
    while start < len(ids_BxF):
      count = min(len(ids_BxF) - start, len(self._buffer) - self._filled)
      target = self._buffer[self._filled : self._filled + count]
      for name in self._buffer.dtype.names:
        target[name] = columns[name][start : start + count]

      self._filled += count
      start += count
      if self._filled == len(self._buffer):
        self._flush()

  def finish(self) -> schema_lib.Split:
    """Writes the last block and returns what the schema must know of the split."""
    if self._filled:
      self._flush()
    return schema_lib.Split(
      rows=sum(block.rows for block in self._blocks),
      positives=tuple(self._positives.tolist()),
      blocks=tuple(self._blocks),
    )

  def _flush(self) -> None:
    file = f'{self._name}/{len(self._blocks):05d}.npy'
    path = self._directory / file
    try:
      np.save(path, self._buffer[: self._filled])
    except OSError as e:
      raise ValueError(f'{path}: could not be written, is the disk full? ({e})') from None
    block = schema_lib.Block(file=file, rows=self._filled, crc32=file_crc32(path))
    self._blocks.append(block)
    self._filled = 0


def file_crc32(path: pathlib.Path) -> int:
  """zlib.crc32 of a whole file, read as a stream."""
  crc = 0
  with open(path, 'rb') as file:
    while chunk := file.read(1 << 20):
      crc = zlib.crc32(chunk, crc)
  return crc


@dataclasses.dataclass(frozen=True)
class OpenSplit:
  """The memory-mapped blocks of one split."""

  rows: int
  block_rows: int  # rows of every block but the last
  blocks: tuple[np.ndarray, ...]  # records, one array per block


def open_split(
  directory: pathlib.Path | str, schema: schema_lib.FeatureSchema, split: str, verify: bool = True
) -> OpenSplit:
  """Opens the blocks of `split` (train, valid or test).

  Raises ValueError naming the file when a block is missing or differs from the schema in size or
  type and, when verifying (reads every byte once), in its checksum or with an id outside of its
  field's rows of the table.
  """
  if split not in schema.splits:
    raise ValueError(
      f'{directory}: no split {split!r}; the data set has {", ".join(schema.splits)}'
    )
  dtype = record_dtype(
    len(schema.fields), len(schema.tasks), schema.numeric_count, grouped=schema.group is not None
  )
  blocks = []
  for block in schema.splits[split].blocks:
    path = pathlib.Path(directory) / block.file
    records = _open_block(path, block, dtype)
    if verify:
      _verify_block(path, block, records, schema)
    blocks.append(records)
  return _checked_split(pathlib.Path(directory), schema.splits[split], blocks)


def take(split: OpenSplit, rows_B: np.ndarray) -> Batch:
  """The rows `rows_B` of the split, in that order, as a batch with float32 labels."""
  records_B = _gather(split, rows_B)
  batch = columns_of(records_B)
  return batch | {'label_BxT': batch['label_BxT'].astype(np.float32)}


def read_all(split: OpenSplit) -> Batch:
  """The whole split in file order, in memory, as stored: labels stay uint8."""
  parts = [columns_of(records) for records in split.blocks]
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def columns_of(records_B: np.ndarray) -> Batch:
  """Records -> contiguous columns, as stored: labels stay uint8."""
  names = {'ids': 'ids_BxF', 'label': 'label_BxT', 'value': 'value_BxA', 'group': 'group_B'}
  return {names[name]: np.ascontiguousarray(records_B[name]) for name in records_B.dtype.names}


def _gather(split: OpenSplit, rows_B: np.ndarray) -> np.ndarray:
  if len(split.blocks) == 1:
    return np.take(split.blocks[0], rows_B, axis=0)

  block_B = rows_B // split.block_rows
  few_bits = np.min_scalar_type(len(split.blocks))  # makes it a radix sort
  by_block_B = np.argsort(block_B.astype(few_bits), kind='stable')
  row_B = (rows_B - block_B * split.block_rows)[by_block_B]

  ends = np.cumsum(np.bincount(block_B, minlength=len(split.blocks))).tolist()
  sorted_B = np.empty(len(rows_B), split.blocks[0].dtype)
  for records, start, end in zip(split.blocks, [0, *ends[:-1]], ends, strict=True):
    # mode='clip' lets numpy write to `out` directly; rows are in range by construction
    if start < end:
      np.take(records, row_B[start:end], axis=0, out=sorted_B[start:end], mode='clip')

  place_B = np.empty_like(by_block_B)
  place_B[by_block_B] = np.arange(len(rows_B))
  return np.take(sorted_B, place_B, axis=0)


def _open_block(path: pathlib.Path, block: schema_lib.Block, dtype: np.dtype) -> np.ndarray:
  if not path.is_file():
    raise ValueError(f'{path}: block is missing')
  try:
    records = np.load(path, mmap_mode='r', allow_pickle=False)
  except (ValueError, EOFError, OSError) as e:
    raise ValueError(f'{path}: block is damaged or cut short ({e})') from None
  if records.dtype != dtype or records.shape != (block.rows,):
    raise ValueError(
      f'{path}: block holds {records.shape} records of {records.dtype}, schema.json says '
      f'({block.rows},) of {dtype}'
    )
  return np.asarray(records)  # still memory-mapped; without the slow indexing of np.memmap


def _verify_block(
  path: pathlib.Path, block: schema_lib.Block, records: np.ndarray, schema: schema_lib.FeatureSchema
) -> None:
  if file_crc32(path) != block.crc32:
    raise ValueError(f'{path}: block is damaged (its checksum differs from the one in schema.json)')

  first_F = np.array(schema.offsets)
  last_F = first_F + np.array([f.vocab_size for f in schema.fields]) - 1
  zero_T = np.zeros(len(schema.tasks))
  for start in range(0, len(records), _PIECE_ROWS):
    piece = records[start : start + _PIECE_ROWS]

    bad = _first_outside(piece['ids'], first_F, last_F)
    if bad:
      field = schema.fields[bad.column].name
      held = f'[{first_F[bad.column]}, {last_F[bad.column]}]'
      raise ValueError(
        f'{path}: row {start + bad.row}: field {field}: id {bad.value} is outside of {held}, '
        'the rows of this field in the table'
      )

    bad = _first_outside(piece['label'], zero_T, zero_T + 1)
    if bad:
      task = schema.tasks[bad.column]
      raise ValueError(f'{path}: row {start + bad.row}: {task}: label {bad.value} is not 0 or 1')


class _Outside(NamedTuple):
  """A value outside of the range of its column, and where it is."""

  row: int
  column: int
  value: int


def _first_outside(x_BxX: np.ndarray, least_X: np.ndarray, most_X: np.ndarray) -> _Outside | None:
  """The first one in the first column that has any."""
  bad_X = (x_BxX.min(0) < least_X) | (x_BxX.max(0) > most_X)
  if not bad_X.any():
    return None
  column = int(bad_X.argmax())
  x_B = x_BxX[:, column]
  row = int(((x_B < least_X[column]) | (x_B > most_X[column])).argmax())
  return _Outside(row, column, int(x_B[row]))


def _checked_split(
  directory: pathlib.Path, split: schema_lib.Split, blocks: list[np.ndarray]
) -> OpenSplit:
  lengths = [len(block) for block in blocks]
  even = len(set(lengths[:-1])) <= 1 and lengths[-1:] <= lengths[:1]
  if not blocks or sum(lengths) != split.rows or not even:
    path = directory / 'schema.json'
    raise ValueError(f'{path}: blocks of {lengths} rows do not make a split of {split.rows} rows')
  return OpenSplit(rows=split.rows, block_rows=lengths[0], blocks=tuple(blocks))
