"""A file is whole or is not there."""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import zipfile
import zlib

# what reading an .npz raises that is cut short, changed, or something else
NPZ_DAMAGE = (
  ValueError,
  KeyError,
  EOFError,
  OSError,
  NotImplementedError,
  zipfile.BadZipFile,
  zlib.error,
)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """A temporary name to write to, renamed at the end: a reader never sees half a file, and none
  stays behind.
  """
  temporary = path.with_name(f'.{path.name}.{os.getpid()}')
  try:
    yield temporary
    temporary.replace(path)
  except BaseException:
    with contextlib.suppress(OSError):
      temporary.unlink()
    raise
