"""metrics.jsonl and TensorBoard events of a run; a resumed run forgets what lay beyond its checkpoint."""

from collections.abc import Callable, Iterator
import contextlib
import json
import pathlib
from typing import Any

from tensorboardX import SummaryWriter

from rec_sparse import record

Log = Callable[[int, str, dict[str, Any]], None]  # (step, split, values)


@contextlib.contextmanager
def open_log(run_directory: pathlib.Path, step: int) -> Iterator[Log]:
  """A function that appends one line; lines of later steps than `step`, and a line cut short, are dropped first."""
  path = run_directory / 'metrics.jsonl'
  kept = [line for line in _whole_lines(path) if json.loads(line)['step'] <= step]
  record.write_text(path, ''.join(kept))
  with open(path, 'a') as lines, SummaryWriter(str(run_directory), purge_step=step + 1) as events:

    def log(step: int, split: str, values: dict[str, Any]) -> None:
      lines.write(json.dumps({'step': step, 'split': split} | values) + '\n')
      lines.flush()
      for name, value in values.items():
        if isinstance(value, int | float):
          events.add_scalar(f'{split}/{name}', value, step)

    yield log


def _whole_lines(path: pathlib.Path) -> list[str]:
  lines = path.read_text().splitlines(keepends=True) if path.exists() else []
  return [line for line in lines if line.endswith('}\n')]
