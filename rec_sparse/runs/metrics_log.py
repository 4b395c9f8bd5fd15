"""metrics.jsonl and TensorBoard events of a run; a resumed run forgets what lay beyond its
checkpoint.
"""

from collections.abc import Callable, Iterator
import contextlib
import json
import math
import pathlib
from typing import Any

from tensorboardX import SummaryWriter

from rec_sparse import record

Log = Callable[[int, str, dict[str, Any]], None]  # (step, split, values)


@contextlib.contextmanager
def open_log(run_directory: pathlib.Path, step: int) -> Iterator[Log]:
  """A function that appends one line of strict JSON, null for a number that is not finite.

  Lines of later steps than `step`, and a line cut short, are dropped first.
  """
  path = run_directory / 'metrics.jsonl'
  kept = [line for line in _whole_lines(path) if json.loads(line)['step'] <= step]
  record.write_text(path, ''.join(kept))
  with open(path, 'a') as lines, SummaryWriter(str(run_directory), purge_step=step + 1) as events:

    def log(step: int, split: str, values: dict[str, Any]) -> None:
      values = {name: _finite_or_none(value) for name, value in values.items()}
      lines.write(json.dumps({'step': step, 'split': split} | values, allow_nan=False) + '\n')
      lines.flush()
      for name, value in values.items():
        if isinstance(value, int | float):
          events.add_scalar(f'{split}/{name}', value, step)

    yield log


def _finite_or_none(value: Any) -> Any:
  return None if isinstance(value, float) and not math.isfinite(value) else value


def _whole_lines(path: pathlib.Path) -> list[str]:
  lines = path.read_text().splitlines(keepends=True) if path.exists() else []
  return [line for line in lines if line.endswith('}\n')]
