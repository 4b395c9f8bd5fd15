"""All or nothing: a dataset directory appears under its name only when it is whole."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator

from rec_sparse import schema as schema_lib


def fingerprint(files: dict[str, list[str]], options: dict) -> str:
  """SHA-256 over the bytes of the files of each split and the options, in hexadecimal; paths do not matter."""
  digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
  for split, paths in sorted(files.items()):
    for path in paths:
      with open(path, 'rb') as f:
        digest.update(f'{split} {hashlib.file_digest(f, "sha256").hexdigest()}\n'.encode())
  return digest.hexdigest()


def is_made(out: pathlib.Path, mark: str) -> bool:
  """Whether `out` already holds the data set with this fingerprint.

  Raises ValueError when it holds anything else, or lacks one of its blocks; an empty or missing directory is free.
  """
  if not out.exists() or (out.is_dir() and not any(out.iterdir())):
    return False
  if not (out / 'schema.json').is_file() or (schema := schema_lib.load_schema(out)).fingerprint != mark:
    raise ValueError(f'--out={out}: not empty, and not this data set; remove it or choose another directory')
  for block in (block for split in schema.splits.values() for block in split.blocks):
    if not (out / block.file).is_file():
      raise ValueError(f'--out={out}: {block.file} is missing; remove the directory, and the data set is made anew')
  return True


@contextlib.contextmanager
def directory(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """A directory beside `out` to write to; renamed to `out` at the end, removed on any exception."""
  out.parent.mkdir(parents=True, exist_ok=True)
  temporary = out.parent / f'.{out.name}.{os.getpid()}.partial'
  shutil.rmtree(temporary, ignore_errors=True)
  temporary.mkdir()
  try:
    yield temporary
    os.replace(temporary, out)
  except BaseException:
    shutil.rmtree(temporary, ignore_errors=True)
    raise
