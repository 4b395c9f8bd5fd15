"""A file of tables for people, and the lines of a table."""

from collections.abc import Sequence
import pathlib

from rec_sparse import record


def head(title: str, cells: Sequence[str]) -> list[str]:
  """The lines above the rows of a table: its title, and what its columns are."""
  return [f'{title}:', '', line(cells), line(['---'] * len(cells))]


def line(cells: Sequence[str]) -> str:
  """A row of a table."""
  return f'| {" | ".join(cells)} |'


def place(path: str) -> pathlib.Path:
  """Where --out says that the file goes; raises ValueError when there is no place for it."""
  out = pathlib.Path(path)
  if not out.parent.is_dir() or out.is_dir():
    raise ValueError(f'--out={out}: expected a file in a directory that exists')
  return out


def write(out: pathlib.Path, parts: Sequence[str]) -> None:
  """Writes the file and prints it."""
  text = '\n'.join(parts)
  record.write_text(out, text)
  print(text)
