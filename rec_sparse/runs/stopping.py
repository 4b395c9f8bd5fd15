"""SIGTERM and Ctrl-C as a request: a program goes on to a place where it can save,
and stops there.
"""

from collections.abc import Callable, Iterator
import contextlib
import signal
from typing import Any


@contextlib.contextmanager
def on_signals() -> Iterator[Callable[[], bool]]:
  """A function that says whether SIGTERM or Ctrl-C came; the second Ctrl-C does not wait."""
  came = []

  def request(number: int, _: Any) -> None:
    came.append(number)
    if number == signal.SIGINT:
      signal.signal(signal.SIGINT, previous[signal.SIGINT])

  def asked() -> bool:
    return bool(came)

  previous = {}
  for number in (signal.SIGTERM, signal.SIGINT):
    previous[number] = signal.signal(number, request)
  try:
    yield asked
  finally:
    for number, handler in previous.items():
      signal.signal(number, handler)
