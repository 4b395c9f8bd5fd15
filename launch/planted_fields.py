"""What launch.select finds of planted fields: copies, noise, weak fields, pairs; as a table.

python -m launch.planted_fields --out=docs/planted_fields.md
"""

import functools
import time

from absl import flags
import numpy as np
import tqdm

from launch import flag_definers
from launch import main as main_lib
from launch import markdown
from rec_sparse.search import afe
from rec_sparse.search import information
from rec_sparse.search import planted

FLAGS = flags.FlagValues()
define = flag_definers.into(FLAGS)
OUT = define.string('out', None, 'Markdown file to write.', required=True)
_integer = functools.partial(define.integer, lower_bound=2)
SEEDS = _integer('seeds', 20, 'Planted data sets of every line.')
ROWS = _integer('rows', 200_000, 'Rows of a data set.')
NOISE = _integer('noise_values', 100_000, 'Values of the larger noise field.')

_HEAD = """# Planted fields: what launch.select finds

```
python -m launch.planted_fields --out=docs/planted_fields.md
```
"""
_CASES = {  # -> (estimator, options of afe.steps, options of planted.rows)
  'AFE': ('permutation', {}, {}),
  'AFE, halves split': ('split', {}, {}),
  'AFE, as counted': ('none', {}, {}),
  'plain J (JMI)': ('permutation', {'strikes': False}, {}),
  'AFE, two labels': ('permutation', {}, {'tasks': 2}),
  'AFE, pure XOR pair': ('permutation', {}, {'pure': True}),
  'AFE, pure XOR pair, start of pairs': ('permutation', {'start': None}, {'pure': True}),
}


def main() -> int:
  """Writes both tables and prints them; raises ValueError when there is no place for them."""
  out = markdown.place(OUT.value)
  markdown.write(out, [_HEAD, _choices(), _noise()])
  return 0


def _choices() -> str:
  head = ['search', 'one of each copy', 'no noise', 'pair', 'weak field', 'all four', 'seconds']
  title = (
    f'What is kept of {SEEDS.value} planted data sets of {ROWS.value:,} rows, '
    f'with a noise field of {NOISE.value:,} values (share of data sets)'
  )
  lines = markdown.head(title, head)
  for name, case in tqdm.tqdm(_CASES.items(), desc='searches'):
    began = time.perf_counter()
    verdicts = np.array([_verdict(seed, *case) for seed in range(SEEDS.value)])
    seconds = (time.perf_counter() - began) / SEEDS.value
    shares = [f'{share:.0%}' for share in (*verdicts.mean(0), verdicts.all(1).mean())]
    lines.append(markdown.line([name, *shares, f'{seconds:.2f}']))
  return '\n'.join(lines) + '\n'


def _verdict(seed: int, method_name: str, options: dict, data: dict) -> planted.Verdict:
  rows = planted.rows(seed, ROWS.value, NOISE.value, **data)
  method = information.METHODS[method_name]
  counted = planted.counted(rows, 2 if method_name == 'split' else 1)
  tasks = rows.label_BxT.shape[1]
  if 'start' in options:
    options = {'start': afe.most_synergistic(*counted, tasks, method)}
  steps = list(afe.steps(*counted, tasks, method, seed, **options))
  return planted.verdict(planted.kept(rows, steps))


def _noise() -> str:
  """Information of the noise field with a value for each of its values, none hashed."""
  held = []
  numbers = []
  for seed in range(SEEDS.value):
    rows = planted.rows(seed, ROWS.value, NOISE.value)
    cell_B = 2 * rows.fields['noise_of_many_values'] + rows.label_BxT[:, 0]
    table_WxY = np.bincount(cell_B, minlength=2 * NOISE.value + 2).reshape(-1, 2)
    found = afe.alone(table_WxY, 1, information.permutation, [seed])
    held.append(found.low < 0 < found.high)
    numbers.append(found)
  value, half, plug_in = np.array(numbers).mean(0)
  return (
    f'Its information of the label, none of its values hashed: {plug_in:.4f} nats as counted '
    f'(mean over data sets); {value:.5f} +- {half:.5f} corrected, and 0 lies in the interval of '
    f'{np.mean(held):.0%} of the data sets.\n'
  )


def run() -> None:
  """Console entry."""
  main_lib.run(main, FLAGS)


if __name__ == '__main__':
  run()
