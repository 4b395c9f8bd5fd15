"""Trains one model on a prepared data set; on a run directory that holds a checkpoint, goes on from
it.

python -m launch.train --data=data/frappe --out=runs/frappe_mlp --model=dense_mlp --width=400
"""

import contextlib
import dataclasses
import json
import pathlib
import sys
from typing import Any

from absl import flags
import jax

from launch import config_flags
from launch import flag_definers
from launch import main as main_lib
from launch import mesh_flags
from rec_sparse import config as config_lib
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse.embedding import placement
from rec_sparse.runs import run_directory

FLAGS = flags.FlagValues()
define = flag_definers.into(FLAGS)

DATA = define.string('data', None, 'Dataset directory, made by launch.prepare.', required=True)
OUT = define.string('out', None, 'Run directory; resumes if it holds a checkpoint.', required=True)
SETTINGS = define.multi_string(
  'set', [], 'name=value, as another way to write --name=value; repeatable.'
)
MESH = define.list(
  'mesh',
  [],
  'Devices: data,model or data alone; default: all of them on the data axis. Batches are split '
  'over data, dense parameters over model, rows of the table over all.',
)
LOOKUP = mesh_flags.define_lookup(FLAGS)
LAYOUT = mesh_flags.define_layout(FLAGS)
COORDINATOR = define.string(
  'coordinator', None, 'host:port of process 0, for a run of several processes.'
)
PROCESSES = define.integer('processes', 1, 'How many processes the run has.', lower_bound=1)
PROCESS = define.integer('process', 0, 'Which of them this is.', lower_bound=0)
INIT_FROM = define.string(
  'init_from',
  None,
  'Run directory to start from; settings that are not named are its own. With more --epochs alone '
  'it goes on where that run ended; else it starts from its network, with a new optimizer.',
)
INIT_CHECKPOINT = define.string(
  'init_checkpoint', 'best', 'best, last, or a step: the network of --init_from to start from.'
)
GROUPS = config_flags.define(FLAGS)


def config_from_flags(schema: schema_lib.FeatureSchema) -> config_lib.Config:
  """The resolved config; raises ValueError naming a wrong or doubled flag, or a wrong value."""
  model = FLAGS['model'].value
  start: dict[str, Any] = {}
  if INIT_FROM.value:
    origin, _ = run_directory.read(pathlib.Path(INIT_FROM.value), flag='init_from')
    model = model if FLAGS['model'].present else origin.model
    if model == origin.model:
      start = config_lib.flat(config_lib.to_raw(origin))
      del start['model']
  given = start | config_flags.given(FLAGS, model, SETTINGS.value)
  return settings.make(model, given | {'data_fingerprint': schema.fingerprint, 'init_from': ''})


def mesh_from_flags() -> jax.sharding.Mesh:
  """The mesh that --mesh names; raises ValueError when it is no mesh, or asks for more devices than
  there are.
  """
  data, model = mesh_flags.sizes(MESH.value, jax.device_count())
  given = ','.join(MESH.value or [str(jax.device_count())])
  if data * model > jax.device_count():
    raise ValueError(f'--mesh={given}: there are {jax.device_count()} devices')
  if data * model > placement.MAX_DEVICES:
    raise ValueError(
      f'--mesh={given}: {data * model} devices; a run has at most {placement.MAX_DEVICES}'
    )
  if PROCESSES.value > 1 and data * model != jax.device_count():
    raise ValueError(
      f'--mesh={given}: several processes need a mesh of all {jax.device_count()} devices'
    )
  return placement.make_mesh(data, model)


def join_processes() -> None:
  """Makes the devices of all processes one pool; raises ValueError when the flags do not name a
  process.
  """
  if (COORDINATOR.value is None) != (PROCESSES.value == 1) or PROCESS.value >= PROCESSES.value:
    raise ValueError(
      f'--coordinator={COORDINATOR.value} --processes={PROCESSES.value} --process={PROCESS.value}: '
      'several processes need a coordinator, and numbers from 0'
    )
  if COORDINATOR.value:
    jax.distributed.initialize(COORDINATOR.value, PROCESSES.value, PROCESS.value)


def main() -> int:
  """Trains, and prints the trial record as the last line -> 0; 1 when it diverged;
  75 when a signal stopped it.
  """
  # Here, so that --help and wrong flags answer before the rest is loaded.
  from launch import progress
  from rec_sparse import train
  from rec_sparse.runs import chips
  from rec_sparse.runs import evaluation
  from rec_sparse.runs import loop
  from rec_sparse.runs import timetable
  from rec_sparse.runs import warm_start

  join_processes()
  data, out = pathlib.Path(DATA.value), pathlib.Path(OUT.value)
  schema = schema_lib.load_schema(data, needs=('train', 'valid'))
  config = config_from_flags(schema)
  origin = None
  if INIT_FROM.value:
    origin = warm_start.find(pathlib.Path(INIT_FROM.value), INIT_CHECKPOINT.value, config)
    config = dataclasses.replace(config, init_from=origin.name)
  mesh = mesh_from_flags()
  tables = chips.tables(mesh.devices.flat[0], LAYOUT.value, LOOKUP.value)
  run_program = train.program(config, schema, mesh, tables.lookup, tables.layout)
  of_run = timetable.of(config, schema.splits['train'].rows)
  with contextlib.closing(progress.RunOnTerminal(config, of_run)) as terminal:
    found = loop.run_training(run_program, schema, data, out, terminal, origin)
  if found is None:
    return main_lib.interrupted(out)
  main_lib.say(evaluation.undefined(schema, 'valid'))
  shown = ('run_id', 'status', 'best_step', 'valid_logloss', 'valid_auc')
  print(json.dumps({name: found[name] for name in shown}, allow_nan=False), flush=True)
  if found['status'] == 'diverged':
    why = found.get('error', 'its loss became NaN or infinite')
    raise ValueError(f'{out}: the run diverged: {why}; {_kept(out)}')
  return 0


def _kept(out: pathlib.Path) -> str:
  steps = run_directory.checkpoints(out)
  if not steps:
    return 'it had saved no checkpoint'
  return f'its checkpoints from before that are kept (steps {", ".join(map(str, steps))})'


def run() -> None:
  """Console entry."""
  groups = GROUPS | config_flags.define_outside(FLAGS, sys.argv[1:])
  main_lib.run(main, FLAGS, groups)


if __name__ == '__main__':
  run()
