"""Exports the network of a run: a directory that jax and numpy alone can serve, on CPU, GPU or TPU.

python -m launch.export --run=runs/first --out=served/first
"""

import json
import pathlib

from absl import flags

from launch import flag_definers
from launch import main as main_lib

FLAGS = flags.FlagValues()
define = flag_definers.into(FLAGS)
RUN = define.string('run', None, 'Run directory, made by launch.train.', required=True)
OUT = define.string('out', None, 'Directory to make.', required=True)
CHECKPOINT = define.string('checkpoint', 'best', 'best, last, or a step.')
DATA = define.string(
  'data', None, "Dataset directory with its vocabularies; default: the run's own."
)
COMPACT = define.enum(
  'compact',
  'auto',
  ['auto', 'none'],
  'auto: kernels with enough zeros are written, and multiplied, without most of them, where that '
  'is faster on a CPU; none: dense ones, whatever their zeros.',
)
CALLS = define.integer(
  'latency_calls',
  300,
  'Calls to time at each size of a batch, for latency.json; 0: none.',
  lower_bound=0,
)


def main() -> int:
  """Exports, measures the latency here, and prints one JSON object."""
  # Here, so that --help and wrong flags answer before jax is loaded.
  from rec_sparse import record
  from rec_sparse.runs import trained as trained_lib
  from rec_sparse.serving import export
  from rec_sparse.serving import latency
  from rec_sparse.serving.loader import network

  out = pathlib.Path(OUT.value)
  export.check_free(out)
  data = pathlib.Path(DATA.value) if DATA.value else None
  trained = trained_lib.restore(pathlib.Path(RUN.value), CHECKPOINT.value, data)
  about = export.export(trained, out, compact=COMPACT.value == 'auto')

  exported = network.load(out)
  if CALLS.value:
    found = latency.measure(exported, CALLS.value)
    record.write_json(out / 'latency.json', found)
    print(latency.table(found))
  shown = {name: about[name] for name in ('run_id', 'step', 'model', 'tasks', 'hash')}
  print(json.dumps({'artifact': str(out)} | shown))
  return 0


def run() -> None:
  """Console entry."""
  main_lib.run(main, FLAGS)


if __name__ == '__main__':
  run()
