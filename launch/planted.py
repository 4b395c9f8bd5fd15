"""How far verdicts and intervals can be trusted: planted studies whose truth is known, as a table.

python -m launch.planted --out=docs/planted.md
"""

import itertools
import statistics

from absl import flags
import tqdm

from launch import flag_definers
from launch import main as main_lib
from launch import markdown
from rec_sparse.scaling import planted
from rec_sparse.scaling.verdict import DELTA

FLAGS = flags.FlagValues()
define = flag_definers.into(FLAGS)
OUT = define.string('out', None, 'Markdown file to write.', required=True)
STUDIES = define.integer(
  'studies', 1000, 'Planted studies of every cell of the tables.', lower_bound=10
)

DEVIATIONS = ((1e-4, 5), (2e-4, 5), (2e-2, 2))  # of a seed, in nats, and how many seeds
TRUTHS = {
  'plateau over the last four rungs': planted.plateau,
  'power law': planted.power_law,
  'line that falls by 1.5 delta': planted.line(-1.5 * DELTA),
  'flat line': planted.line(0.0),
}
ROWS = (0.0, 0.1, 0.8)  # standard error of a slope over test rows, in delta
SEEDS = (2, 3, 5, 10, 30)


def main() -> int:
  """Writes both tables and prints them; raises ValueError when there is no place for them."""
  out = markdown.place(OUT.value)
  studies = STUDIES.value
  markdown.write(out, [_verdicts(studies), _coverage(studies)])
  return 0


def _verdicts(studies: int) -> str:
  head = [
    'truth',
    'seed deviation',
    'seeds',
    'row error',
    'scaling',
    'saturated',
    'undetermined',
    'test rows to settle',
  ]
  lines = markdown.head(f'Verdicts of {studies} planted studies', head)
  cells = list(itertools.product(TRUTHS.items(), DEVIATIONS, (0.1, 0.8)))
  for (name, truth), (deviation, seeds), rows in tqdm.tqdm(cells, desc='verdicts'):
    counts, needed = planted.verdicts(truth, deviation, seeds, rows * DELTA, studies)
    shares = [f'{counts[call] / studies:.1%}' for call in ('scaling', 'saturated', 'undetermined')]
    known = [number for number in needed if number]
    middle = f'{statistics.median_low(known):,}' if known else ''
    lines.append(
      markdown.line([name, f'{deviation:g}', str(seeds), f'{rows:g} delta', *shares, middle])
    )
  return '\n'.join(lines) + '\n'


def _coverage(studies: int) -> str:
  head = ['truth', 'noise', 'row error', *(f'{seeds} seeds' for seeds in SEEDS)]
  lines = markdown.head(
    f'Share of {studies} nominal 95 % intervals of the slope that hold the truth', head
  )
  truths = list(TRUTHS.items())[::2]
  cells = list(itertools.product(truths, planted.NOISES.items(), ROWS))
  for (name, truth), (noise_name, noise), rows in tqdm.tqdm(cells, desc='coverage'):
    shares = [planted.coverage(truth, noise, 2e-4, seeds, rows * DELTA, studies) for seeds in SEEDS]
    shown = [f'{share:.1%}' for share in shares]
    lines.append(markdown.line([name, noise_name, f'{rows:g} delta', *shown]))
  return '\n'.join(lines) + '\n'


def run() -> None:
  """Console entry."""
  main_lib.run(main, FLAGS)


if __name__ == '__main__':
  run()
