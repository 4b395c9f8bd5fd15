"""How every program starts: flags of its own, one sentence for an error, an exit status."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import pathlib
import signal
import sys
import types

from absl import app
from absl import flags
from absl import logging

from launch import help as help_lib
from rec_sparse.runs import memory

Main = Callable[[], int | None]  # -> exit status
INTERRUPTED = 75  # exit status EX_TEMPFAIL: not done, and the same command goes on


def run(
  main: Main,
  own: flags.FlagValues,
  groups: Mapping[str, Sequence[str]] = types.MappingProxyType({}),
) -> None:
  """Parses the command line and exits with what `main` returns; `groups` of flags are for --help.

  A program keeps its flags in FlagValues of its own, so that several programs can be imported into
  one process.
  """
  if {'--help', '-help', '-h'} & set(sys.argv[1:]):
    print(help_lib.text(sys.modules[main.__module__].__doc__ or '', own, groups))
    sys.exit(0)
  for module, defined in own.flags_by_module_dict().items():
    for flag in defined:
      flags.FLAGS[flag.name] = flag
      flags.FLAGS.register_flag_by_module(module, flag)
  own.mark_as_parsed()
  signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what is half-written goes
  app.run(lambda argv: _uncut(main, own, argv))


def say(sentences: Iterable[str]) -> None:
  """Prints a line each."""
  for sentence in sentences:
    print(sentence)


def interrupted(out: pathlib.Path) -> int:
  """Says that `out` holds what a stopped program had done -> its exit status."""
  print(f'interrupted; resumable: the same command goes on from {out}')
  return INTERRUPTED


def call(main: Main, own: flags.FlagValues, arguments: list[str]) -> int:
  """Calls `main` in this process with these arguments, every other flag at its default -> exit
  status.
  """
  own.unparse_flags()
  for name in own:
    own[name].unparse()
  return _status(main, own, own(['program', *arguments], known_only=False))


def _uncut(main: Main, own: flags.FlagValues, argv: list[str]) -> int:
  try:
    return _status(main, own, argv)
  except KeyboardInterrupt:
    print('interrupted; run the same command again', file=sys.stderr)
    return INTERRUPTED


def _status(main: Main, own: flags.FlagValues, argv: list[str]) -> int:
  if not flags.FLAGS.is_parsed() or not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.ERROR)  # checkpoints would log a dozen lines each
  try:
    if argv[1:]:
      raise ValueError(f'unexpected argument {argv[1]!r}; flags start with --')
    own.validate_all_flags()
    return main() or 0
  except (ValueError, OSError, flags.Error) as e:
    logging.info('where it was raised (shown with --verbosity=0)', exc_info=True)
    said = f'{e.filename}: {e.strerror}' if isinstance(e, OSError) and e.filename else e
    print(f'error: {said}', file=sys.stderr)
    return 1
  except (RuntimeError, MemoryError) as e:
    said = memory.in_words(e)
    if not memory.is_full(said):
      raise
    print(
      f'error: the device has not enough memory ({said.splitlines()[0][:200]})', file=sys.stderr
    )
    return 1
