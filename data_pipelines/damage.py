"""What polars makes of a damaged file: one sentence."""

from collections.abc import Iterator
import contextlib
import os
import pathlib

import polars as pl


@contextlib.contextmanager
def named(path: pathlib.Path | str, what: str) -> Iterator[None]:
  """Turns what polars raises inside into a ValueError `path: what (the reason)`.

  Polars may also panic, which is no Exception, and writes of it to standard error: what is written
  there inside goes nowhere.
  """
  try:
    with _silence():
      yield
  except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as e:
    reason = str(e).partition('\n')[0]
    raise ValueError(f'{path}: {what} ({reason})') from None


@contextlib.contextmanager
def _silence() -> Iterator[None]:
  """Standard error of the process, whatever writes to it, goes nowhere."""
  kept = os.dup(2)
  nowhere = os.open(os.devnull, os.O_WRONLY)
  try:
    os.dup2(nowhere, 2)
    yield
  finally:
    os.dup2(kept, 2)
    os.close(kept)
    os.close(nowhere)
