"""Runs a program: a ValueError from user input becomes one sentence on stderr and exit status 1."""

from collections.abc import Callable
import sys

from absl import app


def run(main: Callable[[list[str]], int | None]) -> None:
  """`absl.app.run(main)`, without a traceback for what the user can mend."""
  app.run(lambda argv: guard(main, argv))


def guard(main: Callable[[list[str]], int | None], argv: list[str]) -> int:
  """Calls `main` -> exit status."""
  try:
    if len(argv) > 1:
      raise ValueError(f'unexpected argument {argv[1]!r}; flags start with --')
    return main(argv) or 0
  except ValueError as e:
    print(f'error: {e}', file=sys.stderr)
    return 1
