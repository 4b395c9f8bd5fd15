"""Makes a dataset directory from raw logs or from the synthetic teacher.

  python -m launch.prepare --source=libfm --train=train.libfm.gz --valid=valid.libfm.gz --out=data/frappe
"""

import dataclasses
import pathlib

from absl import flags

from data_pipelines import prepare
from data_pipelines import raw
from data_pipelines import spec as spec_lib
from launch import main as launch_main
from rec_sparse import schema as schema_lib

FLAGS = flags.FlagValues()
flags.DEFINE_enum('source', None, ['libfm', 'csv', 'parquet'], 'Kind of the raw logs.', flag_values=FLAGS)
flags.DEFINE_list('train', [], 'Training files: paths or globs.', flag_values=FLAGS)
flags.DEFINE_list('valid', [], 'Validation files; cut from train when missing.', flag_values=FLAGS)
flags.DEFINE_list('test', [], 'Test files; cut from train when missing.', flag_values=FLAGS)
flags.DEFINE_string('spec', None, 'JSON file that gives each column its part.', flag_values=FLAGS)
flags.DEFINE_string('group', None, 'Column whose values are the groups of GAUC.', flag_values=FLAGS)
flags.DEFINE_enum('numeric', 'bucket', spec_lib.MODES, 'Numeric columns: ids or values.', flag_values=FLAGS)
flags.DEFINE_integer('min_count', 1, 'Rarer values are out of vocabulary.', lower_bound=1, flag_values=FLAGS)
flags.DEFINE_integer('split_seed', 0, 'Decides which rows a missing split gets.', flag_values=FLAGS)
flags.DEFINE_string('out', None, 'Dataset directory to make.', flag_values=FLAGS)


def main(argv: list[str]) -> int:
  """Prepares, then prints the splits, the fields and, last, the path of the dataset directory."""
  del argv
  from data_pipelines import prepare  # here, so that --help and wrong flags answer before polars is loaded

  files = {split: raw.expand(FLAGS[split].value, split) for split in schema_lib.SPLITS if FLAGS[split].value}
  spec = spec_lib.read(FLAGS.spec, FLAGS.numeric)
  if FLAGS.group:
    spec = dataclasses.replace(spec, group=FLAGS.group)
  job = prepare.Job(FLAGS.source, files, spec, FLAGS.numeric, FLAGS.min_count, FLAGS.split_seed)
  schema, made = prepare.prepare(job, pathlib.Path(FLAGS.out))
  print(schema)
  return 0


def run() -> None:
  """Console entry point."""
  for module, defined in FLAGS.flags_by_module_dict().items():
    for flag in defined:
      flags.FLAGS[flag.name] = flag
      flags.FLAGS.register_flag_by_module(module, flag)
  FLAGS.mark_as_parsed()
  launch_main.run(main)


if __name__ == '__main__':
  run()
