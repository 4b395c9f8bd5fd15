"""Raw rows -> a CSV file with a probability per task, row for row, in bounded memory."""

from collections.abc import Callable, Iterator
import pathlib
import time
from typing import Any

import numpy as np
import polars as pl

from data_pipelines import columns as columns_lib
from rec_sparse import whole_file
from rec_sparse.serving.loader import network as network_lib
from rec_sparse.serving.scorer import Scorer

_AHEAD = 64  # batches that are written at once, while a device does as many others
_SHOWN = 10  # fields whose share of unknown values is told


def check_out(out: pathlib.Path, files: list[str]) -> None:
  """Raises ValueError when `out` is a directory, or one of the files that are read."""
  if out.is_dir():
    raise ValueError(f'--out={out}: is a directory; name a CSV file')
  if out.exists() and any(out.samefile(file) for file in files):
    raise ValueError(f'--out={out}: is a file of --input')


def predict(
  scorer: Scorer,
  rows: Iterator[columns_lib.Columns],
  out: pathlib.Path,
  told: Callable[[int], None],
) -> dict[str, Any]:
  """Writes `out` and replaces what was there; `told` hears how many more rows are done.

  Gives rows, rows a second, and for each field the share of its values that no row of the table
  stands for: the largest first. Raises ValueError when a logit is not finite, or as `rows` does;
  then nothing is written.
  """
  began = time.perf_counter()
  unknown_F = np.zeros(len(scorer.fields), np.int64)
  done = 0

  def encoded() -> Iterator[network_lib.Encoded]:
    for columns in rows:
      part = scorer.encode(columns)
      unknown_F[:] += part.unknown_BxF.sum(0)
      yield part

  with whole_file.replacing(out) as temporary, temporary.open('wb') as file:
    for scores in _scores(scorer, encoded()):
      if not np.isfinite(scores.logit_BxT).all():
        row = done + int(np.argmin(np.isfinite(scores.logit_BxT).all(1)))
        raise ValueError(f'row {row} (from 0) has a logit that is not finite')
      table = pl.DataFrame(scores.probability_BxT, schema=list(scorer.tasks))
      table.write_csv(file, include_header=done == 0)
      done += len(table)
      told(len(table))

  shares = dict(zip(scorer.fields, (unknown_F / max(done, 1)).round(6).tolist(), strict=True))
  largest = sorted((name for name in shares if shares[name]), key=lambda name: -shares[name])
  return {
    'rows': done,
    'rows_per_second': round(done / (time.perf_counter() - began)),
    'unknown': {name: shares[name] for name in largest[:_SHOWN]},
  }


def _scores(scorer: Scorer, parts: Iterator[network_lib.Encoded]) -> Iterator[network_lib.Scores]:
  """The scores of all rows in order; the device works ahead of who reads them."""
  pending = []
  for batch in _batches(parts):
    pending.append(network_lib.dispatch(scorer.score, batch.ids_BxF, batch.value_BxA))
    if len(pending) == 2 * _AHEAD:
      yield network_lib.fetch(pending[:_AHEAD])
      pending = pending[_AHEAD:]
  if pending:
    yield network_lib.fetch(pending)


def _batches(parts: Iterator[network_lib.Encoded]) -> Iterator[network_lib.Encoded]:
  """The same rows, in batches of one size but for the last: one program, however files are cut."""
  size = network_lib.batch_size()
  rest = None
  for part in parts:
    if rest is not None:
      part = network_lib.Encoded(*map(np.concatenate, zip(rest, part, strict=True)))
    whole = len(part.ids_BxF) // size * size
    for start in range(0, whole, size):
      yield network_lib.Encoded(*(array[start : start + size] for array in part))
    rest = network_lib.Encoded(*(array[whole:] for array in part))
  if rest is not None and len(rest.ids_BxF):
    yield rest
