"""Measures the training step, its parts and its feeds; ratios come from one run on one machine.

python -m launch.bench --what=step,filter --out=bench.json
python -m launch.bench --what=all --out=bench.json
"""

from collections.abc import Iterator
import importlib
import os
import pathlib
import shlex
import sys
from typing import Any

from absl import flags

from launch import flag_definers
from launch import main as main_lib

ALL = ('step', 'masks', 'compact', 'lookup', 'filter', 'ics', 'feed', 'vectorised', 'peer')
WHATS = (*ALL, 'models', 'accelerator')

FLAGS = flags.FlagValues()
define = flag_definers.into(FLAGS)

WHAT = define.multi_string(
  'what',
  ['all'],
  f'What to measure, of {", ".join(WHATS)}; separated by commas, repeatable; or all: all but '
  'models, which takes long, and accelerator, of sizes that a CPU is too slow for.',
)
OUT = define.string(
  'out', None, 'JSON file of the figures, written anew after each of them.', required=True
)
SCALE = define.enum(
  'scale', 'full', ['full', 'tiny'], 'tiny: sizes that test the programs and measure nothing.'
)
PEER_ENV = define.string(
  'peer_env',
  '.peer',
  "The peer's own virtual environment; filled from the package index if missing.",
)
PEER_DATA = define.string(
  'peer_data', 'data/frappe', 'Dataset directory that both programs train on.'
)


def main() -> int:
  """Prints a line per figure as soon as it is there.

  The exit status is 1 if a bench failed, after all others have run.
  """
  import jax  # here, so that --help and wrong flags answer before jax is loaded

  from launch.benches import figure
  from rec_sparse import record

  out = pathlib.Path(OUT.value)
  failed = {}
  chosen = _chosen(WHAT.value)
  if 'peer' in chosen:
    _check_peer_data()
  report = {
    'device': jax.devices()[0].device_kind,
    'versions': record.versions(),
    'cores': os.cpu_count(),
    'command': _command(),
    'scale': SCALE.value,
    'figures': {},
    'quartiles': {},
    'failed': failed,
  }
  _write_first(out, report)
  load = os.getloadavg()[0]
  print(f'{report["device"]}, {report["cores"]} cores, load {load:.1f}, jax {jax.__version__}')

  for what in chosen:
    print(f'\n{what}', flush=True)
    try:
      for found in _figures(what):
        report['figures'][found.name] = figure.significant(found.value)
        if found.quartiles:
          report['quartiles'][found.name] = [figure.significant(value) for value in found.quartiles]
        print(_line(found), flush=True)
        record.write_json(out, report)
    except Exception as e:  # one bench must not cost the figures of the others
      failed[what] = f'{type(e).__name__}: {e}'.splitlines()[0]
      print(f'error: --what={what}: {failed[what]}', file=sys.stderr, flush=True)
    record.write_json(out, report)
  return 1 if failed else 0


def _line(found: Any) -> str:
  """A `figure.Figure` for people: a ratio with its quartiles, other figures with their unit."""
  between = found.unit
  if found.quartiles:
    between = '[{:.3g}, {:.3g}]'.format(*found.quartiles)
  return f'  {found.name:42} {found.value:>12,.4g} {between:14} {found.meaning}'


def _write_first(out: pathlib.Path, report: dict[str, Any]) -> None:
  """Writes the report without figures.

  Raises ValueError when it cannot be written, before minutes are spent on figures.
  """
  from rec_sparse import record

  if not out.name or out.is_dir():
    raise ValueError(f'--out={OUT.value}: expected the name of a file')
  try:
    out.parent.mkdir(parents=True, exist_ok=True)
    record.write_json(out, report)
  except OSError as e:
    raise ValueError(f'--out={out}: cannot be written ({e.strerror})') from None


def _check_peer_data() -> None:
  """Raises ValueError when --peer_data cannot be used, before minutes go to the other benches."""
  from launch.benches import peer_rows
  from rec_sparse import schema as schema_lib

  try:
    peer_rows.check(schema_lib.load_schema(PEER_DATA.value))
  except ValueError as e:
    raise ValueError(
      f'--peer_data={PEER_DATA.value}: {e}; prepare such data, or name the benches '
      'without peer in --what'
    ) from None


def _figures(what: str) -> Iterator:
  bench = importlib.import_module(f'launch.benches.{what}')
  sizes = bench.FULL if SCALE.value == 'full' else bench.TINY
  if what == 'peer':
    return bench.measure(sizes, pathlib.Path(PEER_ENV.value), pathlib.Path(PEER_DATA.value))
  return bench.measure(sizes)


def _chosen(given: list[str]) -> list[str]:
  """Raises ValueError naming an unknown bench."""
  names = [name for text in given for name in text.split(',')]
  for name in names:
    if name not in (*WHATS, 'all'):
      raise ValueError(f'--what={name}: expected one of {", ".join(WHATS)}, all')
  return [what for what in WHATS if what in names or ('all' in names and what in ALL)]


def _command() -> str:
  """This run as a shell line."""
  given = [
    text
    for name in sorted(FLAGS)
    if FLAGS[name].present
    for text in FLAGS[name].serialize().splitlines()
  ]
  return shlex.join(['python', '-m', 'launch.bench', *given])


def run() -> None:
  """Console entry."""
  main_lib.run(main, FLAGS)


if __name__ == '__main__':
  run()
