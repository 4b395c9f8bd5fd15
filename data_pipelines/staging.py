"""All or nothing: a dataset directory appears under its name only when it is whole."""

from collections.abc import Iterator
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
from typing import NamedTuple

import tqdm

from rec_sparse import schema as schema_lib


class _Given(NamedTuple):
  """A raw file, as the flags name it."""

  split: str
  path: str


def fingerprint(files: dict[str, list[str]], options: dict) -> str:
  """SHA-256 over the bytes of the files of each split and the options, in hexadecimal.

  Paths do not matter. Raises ValueError naming both when a file is given twice, or the bytes of one
  to two splits. Equal parts of one split are told: their rows count twice.
  """
  digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
  seen: dict[str, list[_Given]] = {}  # by digest of the file
  for split, paths in sorted(files.items()):
    for path in paths:
      given = _Given(split, path)
      with open(path, 'rb') as f:
        mark = hashlib.file_digest(f, 'sha256').hexdigest()
      for other in seen.setdefault(mark, []):
        _check_apart(given, other)
      seen[mark].append(given)
      digest.update(f'{split} {mark}\n'.encode())

  for equal in seen.values():
    if len(equal) > 1:
      shown = ', '.join(given.path for given in equal[:3])
      tqdm.tqdm.write(
        f'--{equal[0].split}: {len(equal)} files hold the same bytes and all count: {shown}'
      )
  return digest.hexdigest()


def _check_apart(given: _Given, other: _Given) -> None:
  """Raises ValueError when two files of the same bytes are one file, or belong to two splits."""
  if given.split != other.split or os.path.samefile(given.path, other.path):
    raise ValueError(
      f'--{given.split}={given.path}: holds the same bytes as '
      f'--{other.split}={other.path}; give every file once, to one split'
    )


def is_made(out: pathlib.Path, mark: str) -> bool:
  """Whether `out` already holds the data set with this fingerprint.

  Raises ValueError when it holds anything else, or lacks one of its blocks; an empty or missing
  directory is free.
  """
  if not out.exists() or (out.is_dir() and not any(out.iterdir())):
    return False

  schema = schema_lib.load_schema(out) if (out / 'schema.json').is_file() else None
  if schema is None or schema.fingerprint != mark:
    raise ValueError(
      f'--out={out}: not empty, and not this data set; remove it or choose another directory'
    )
  for split in schema.splits.values():
    for block in split.blocks:
      if not (out / block.file).is_file():
        raise ValueError(
          f'--out={out}: {block.file} is missing; remove the directory, and the data set is made '
          'anew'
        )
  return True


@contextlib.contextmanager
def directory(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """A directory beside `out` to write to; renamed to `out` at the end, removed on any exception.

  What a killed process left beside `out` is removed first; a living one has its directory locked.
  """
  out.parent.mkdir(parents=True, exist_ok=True)
  partial = re.compile(rf'\.{re.escape(out.name)}\.\d+\.partial')
  for path in out.parent.iterdir():
    if partial.fullmatch(path.name) and not _is_held(path):
      shutil.rmtree(path, ignore_errors=True)

  temporary = out.parent / f'.{out.name}.{os.getpid()}.partial'
  temporary.mkdir()
  held = os.open(temporary, os.O_RDONLY)
  try:
    fcntl.flock(held, fcntl.LOCK_SH)
    yield temporary
    os.replace(temporary, out)
  except BaseException:
    shutil.rmtree(temporary, ignore_errors=True)
    raise
  finally:
    os.close(held)


def _is_held(path: pathlib.Path) -> bool:
  """Whether a living process holds the lock on a directory; True where that cannot be known."""
  found = os.open(path, os.O_RDONLY)
  try:
    fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError:
    return True
  finally:
    os.close(found)
  return False
