"""Does it fit? Compiles a training step for devices that need not be there; the last line is JSON.

python -m launch.fit --rows=1000000000 --fields=39 --topology=v5p:4x4x4 --model=ssr_s --width=128
python -m launch.fit --data=data/clicks --devices=8 --model=dense_mlp
"""

import dataclasses
import json
import os
import pathlib
import sys

from absl import flags

from launch import config_flags
from launch import flag_definers
from launch import main as main_lib
from launch import mesh_flags
from rec_sparse import schema as schema_lib
from rec_sparse import settings

FLAGS = flags.FlagValues()
define = flag_definers.into(FLAGS)
DATA = define.string(
  'data', None, 'Dataset directory: its fields, and its rows where they are resident.'
)
ROWS = define.integer('rows', None, 'Without --data: rows of the table.', lower_bound=1)
FIELDS = define.integer('fields', None, 'Without --data: fields, of equal size.', lower_bound=1)
TOPOLOGY = define.string(
  'topology',
  None,
  'Devices that need not be there: v5e:2x2, v5p:4x4x4, v6e:4x4, tpu7x:2x2x1, h100, h100:8, h200, '
  'b200; a chip alone is one device, tpu7x two (its cores). GPUs are compiled as an H100.',
)
DEVICES = define.integer('devices', 1, 'Without --topology: simulated CPU devices.', lower_bound=1)
MESH = define.list('mesh', [], 'data,model; default: all devices on the data axis.')
LOOKUP = mesh_flags.define_lookup(FLAGS)
LAYOUT = mesh_flags.define_layout(FLAGS)
ANALYTIC = define.boolean('analytic', False, 'Count the state alone, and compile nothing.')
SETTINGS = define.multi_string(
  'set', [], 'name=value, as another way to write --name=value; repeatable.'
)
GROUPS = config_flags.define(FLAGS)


def _schema() -> schema_lib.FeatureSchema:
  if DATA.value:
    if ROWS.value or FIELDS.value:
      raise ValueError(f'--data={DATA.value}: tells rows and fields; leave --rows and --fields out')
    return schema_lib.load_schema(pathlib.Path(DATA.value))
  if not ROWS.value or not FIELDS.value:
    raise ValueError('--data, or --rows and --fields, are missing: what is the table?')
  if ROWS.value < FIELDS.value:
    raise ValueError(
      f'--rows={ROWS.value}: expected at least one for each of {FIELDS.value} fields'
    )
  from rec_sparse.runs import footprint

  return footprint.schema_of(ROWS.value, FIELDS.value)


def main() -> int:
  """Prints a line for people and one JSON object -> 0; 3 when it does not fit."""
  # libtpu would else ask a server that only TPU hosts have
  os.environ.update(TPU_SKIP_MDS_QUERY='1', TPU_WORKER_HOSTNAMES='localhost')
  import jax

  from rec_sparse import train
  from rec_sparse.embedding import placement
  from rec_sparse.runs import chips
  from rec_sparse.runs import footprint
  from rec_sparse.runs import memory as memory_lib

  jax.config.update('jax_platforms', 'cpu')
  schema = _schema()
  model = FLAGS['model'].value
  given = config_flags.given(FLAGS, model, SETTINGS.value)
  config = settings.make(model, given | {'data_fingerprint': schema.fingerprint})

  chip = None
  if TOPOLOGY.value:
    name, devices = chips.parse(TOPOLOGY.value)
    chip = chips.CHIPS[name]
    memory = chip.memory
  else:
    devices = DEVICES.value
    jax.config.update('jax_num_cpu_devices', devices)
    memory = memory_lib.of_device(jax.devices())
  data, model_axis = mesh_flags.sizes(MESH.value, devices)
  if data * model_axis != devices:
    raise ValueError(f'--mesh={",".join(MESH.value)}: there are {devices} devices')
  try:
    if ANALYTIC.value:
      found = footprint.count(config, schema, devices, memory)
    else:
      known = chips.devices_of(TOPOLOGY.value) if TOPOLOGY.value else jax.devices()
      mesh = placement.make_mesh(data, model_axis, known)
      tables = chips.tables(known[0], LAYOUT.value, LOOKUP.value)
      run = train.program(config, schema, mesh, tables.lookup, tables.layout)
      found = footprint.check(run, schema, chip, memory)
  except chips.NoCompiler as e:
    main_lib.say([f'{e}; what follows is an analytic count'])
    found = footprint.count(config, schema, devices, memory)

  print(footprint.in_words(found))
  print(json.dumps(dataclasses.asdict(found) | {'devices': devices}, allow_nan=False))
  return 0 if found.fits else 3


def run() -> None:
  """Console entry."""
  groups = GROUPS | config_flags.define_outside(FLAGS, sys.argv[1:])
  main_lib.run(main, FLAGS, groups)


if __name__ == '__main__':
  run()
