"""Does it fit? Compiles a training step for devices that need not be there; the last line is JSON.

python -m launch.fit --rows=1000000000 --fields=39 --topology=v5p:4x4x4 --model=ssr_s --width=128
python -m launch.fit --data=data/clicks --devices=8 --model=dense_mlp
python -m launch.fit --data=data/clicks --topology=v5e --study=width
python -m launch.fit --fields=39 --topology=v5e:8x8 --most_rows
"""

import dataclasses
import json
import os
import pathlib
import sys
from typing import NamedTuple

from absl import flags
import jax

from launch import config_flags
from launch import flag_definers
from launch import main as main_lib
from launch import mesh_flags
from launch import sweep_flags
from rec_sparse import config as config_lib
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.embedding import placement
from rec_sparse.runs import chips
from rec_sparse.runs import footprint
from rec_sparse.runs import memory as memory_lib
from rec_sparse.scaling import grid
from rec_sparse.scaling import study_file

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
MOST_ROWS = define.boolean(
  'most_rows', False, 'In place of --rows: the largest table whose state fits, compiling nothing.'
)
ANALYTIC = define.boolean('analytic', False, 'Count the state alone, and compile nothing.')
STUDY = define.string(
  'study',
  None,
  'A study of launch.sweep in place of a model: every shape of its arms, one trial at a time.',
)
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
  return footprint.schema_of(ROWS.value, FIELDS.value)


def _configs(schema: schema_lib.FeatureSchema) -> dict[config_lib.Config, str]:
  """What to compile -> the arm that it belongs to, '' where flags say what it is."""
  model = FLAGS['model'].value
  given = config_flags.given(FLAGS, model, SETTINGS.value)
  if not STUDY.value:
    return {settings.make(model, given | {'data_fingerprint': schema.fingerprint}): ''}
  if given or FLAGS['model'].present:
    wrong = next(iter(given), 'model')
    raise ValueError(f'--{wrong}: not with --study, whose file says it')
  study = study_file.read_study_file(sweep_flags.file_of(STUDY.value))
  for arm in study.arms:
    if arm.data:
      raise ValueError(f'--study={STUDY.value}: arm {arm.name!r} has data of its own')
  return {
    group[0]: arm
    for arm, configs in grid.trials(study, schema).items()
    for group in grid.groups(configs)
  }


class _Devices(NamedTuple):
  """What steps are compiled for."""

  count: int
  chip: chips.Chip | None  # None: a CPU
  memory: int  # bytes of one


def _devices() -> _Devices:
  if TOPOLOGY.value:
    name, count = chips.parse(TOPOLOGY.value)
    return _Devices(count, chips.CHIPS[name], chips.CHIPS[name].memory)
  jax.config.update('jax_num_cpu_devices', DEVICES.value)
  return _Devices(DEVICES.value, None, memory_lib.of_device(jax.devices()))


def _mesh(devices: _Devices) -> jax.sharding.Mesh | None:
  """Of the devices; None where there is no compiler for them, or none is wanted."""
  data, model_axis = mesh_flags.sizes(MESH.value, devices.count)
  if data * model_axis != devices.count:
    raise ValueError(f'--mesh={",".join(MESH.value)}: there are {devices.count} devices')
  if ANALYTIC.value:
    return None
  try:
    known = chips.devices_of(TOPOLOGY.value) if TOPOLOGY.value else jax.devices()
  except chips.NoCompiler as e:
    main_lib.say([f'{e}; what follows is an analytic count'])
    return None
  return placement.make_mesh(data, model_axis, known)


def _found(
  config: config_lib.Config,
  schema: schema_lib.FeatureSchema,
  devices: _Devices,
  mesh: jax.sharding.Mesh | None,
) -> footprint.Footprint:
  """Compiled for a mesh, or counted where there is none."""
  if mesh is None:
    return footprint.count(config, schema, devices.count, devices.memory)
  tables = chips.tables(mesh.devices.flat[0], LAYOUT.value, LOOKUP.value)
  run = train.program(config, schema, mesh, tables.lookup, tables.layout)
  return footprint.check(run, schema, devices.chip, devices.memory)


def _say_most_rows(devices: _Devices) -> int:
  """Prints the largest table -> 0; 3 when none fits."""
  if DATA.value or ROWS.value or STUDY.value or not FIELDS.value:
    raise ValueError('--most_rows: needs --fields, and neither --data, --rows nor --study')
  model = FLAGS['model'].value
  config = settings.make(model, config_flags.given(FLAGS, model, SETTINGS.value))
  rows = footprint.most_rows(config, FIELDS.value, devices.count, devices.memory)
  print(f'{rows:,} rows fit, as far as the state tells; temporaries are not counted')
  print(json.dumps({'rows': rows, 'devices': devices.count, 'memory_bytes': devices.memory}))
  return 0 if rows else 3


def main() -> int:
  """Prints a line for people and a JSON object of every shape -> 0; 3 when one does not fit."""
  # libtpu would else ask a server that only TPU hosts have
  os.environ.update(TPU_SKIP_MDS_QUERY='1', TPU_WORKER_HOSTNAMES='localhost')
  jax.config.update('jax_platforms', 'cpu')
  devices = _devices()
  if MOST_ROWS.value:
    return _say_most_rows(devices)
  schema = _schema()
  configs = _configs(schema)
  mesh = _mesh(devices)

  fits = True
  for config, arm in configs.items():
    found = _found(config, schema, devices, mesh)
    fits &= found.fits
    said = {'devices': devices.count}
    if arm:
      print(f'{arm}, {config_lib.in_short(config)}: ', end='')
      said |= {'arm': arm, 'shape': config_lib.in_short(config)}
    print(footprint.in_words(found))
    print(json.dumps(dataclasses.asdict(found) | said, allow_nan=False), flush=True)
  return 0 if fits else 3


def run() -> None:
  """Console entry."""
  groups = GROUPS | config_flags.define_outside(FLAGS, sys.argv[1:])
  main_lib.run(main, FLAGS, groups)


if __name__ == '__main__':
  run()
