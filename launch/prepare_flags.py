"""The flags of launch.prepare, and which of them belong to which kind of source."""

import functools

from absl import flags

from data_pipelines import prepare
from data_pipelines import synthetic
from data_pipelines import teacher

FLAGS = flags.FlagValues()
_string, _list, _enum, _integer, _float = (
  functools.partial(define, flag_values=FLAGS)
  for define in (
    flags.DEFINE_string,
    flags.DEFINE_list,
    flags.DEFINE_enum,
    flags.DEFINE_integer,
    flags.DEFINE_float,
  )
)
_LOG, _RECIPE = prepare.Job('', {}), teacher.Recipe()  # the defaults
_LAWS = ', '.join(f'{name} {exponent}' for name, exponent in teacher.SKEWS.items())

SOURCE = _enum('source', None, [*prepare.READERS, 'synthetic'], 'What to read; none with --plan.')
OUT = _string('out', None, 'Dataset directory to make.', required=True)
SPLIT_SEED = _integer(
  'split_seed', _LOG.split_seed, 'Decides which rows of train go to a missing split.'
)

FILES = {
  'train': _list(
    'train',
    [],
    'Training files: paths, directories of parts or globs; text may be '
    'compressed with gzip, bz2, xz or zstd.',
  ),
  'valid': _list('valid', [], 'Validation files; when missing, one row for each 8 of train.'),
  'test': _list('test', [], 'Test files; when missing, one row for each 8 of train.'),
}
SPEC = _string(
  'spec',
  None,
  'JSON file that gives the columns their parts: label, categorical, numeric, group, drop; '
  'the texts that mean missing; for text also columns and delimiter.',
)
GROUP = _string(
  'group', None, 'Column whose values are the groups of GAUC; it may be a feature as well.'
)
NUMERIC = _string(
  'numeric',
  _LOG.numeric,
  'What numeric columns become: quantile (ids of buckets with equally '
  'many training rows), value (standardised, times an embedding) or log_square (ids of the '
  'buckets of the Criteo protocols); the spec may say so per column.',
)
BUCKETS = _integer(
  'buckets',
  _LOG.buckets,
  'Buckets of a column in quantile mode; one with fewer different values has one for each.',
  lower_bound=2,
)
MIN_COUNT = _integer(
  'min_count',
  _LOG.min_count,
  'Training rows that a value needs for an id of its own.',
  lower_bound=1,
)
VOCAB_FROM = _string(
  'vocab_from',
  None,
  'Dataset directory whose spec, vocabularies and edges encode these logs, '
  'for a model that was trained on it; only the splits that are named are made.',
)
OF_ENCODER = ('spec', 'group', 'numeric', 'buckets', 'min_count', 'split_seed')  # it decides these
OF_LOGS = (*FILES, 'spec', 'group', 'numeric', 'buckets', 'min_count', 'vocab_from')

ROWS = _integer('rows', synthetic.ROWS, 'Rows over all splits.')
RECIPE = {  # by field of teacher.Recipe
  'fields': _integer('fields', _RECIPE.fields, 'Fields.'),
  'vocab': _integer('vocab', _RECIPE.vocab, 'Different values of each field.'),
  'skew': _enum(
    'skew', _RECIPE.skew, list(teacher.SKEWS), f'Zipf exponent of the values: {_LAWS}.'
  ),
  'seed': _integer('seed', _RECIPE.seed, 'Of the planted network and of the rows.'),
  'hidden': _integer('teacher_hidden', _RECIPE.hidden, 'Planted hidden units.'),
  'inputs': _integer(
    'teacher_inputs',
    _RECIPE.inputs,
    'Dimensions that each unit reads; fields times teacher_dims gives a dense teacher.',
  ),
  'dims': _integer('teacher_dims', _RECIPE.dims, 'Dimensions of the vector of an id.'),
  'signal': _float('signal', _RECIPE.signal, 'Standard deviation of the logit without its noise.'),
  'noise': _float('noise', _RECIPE.noise, 'Standard deviation of the noise of the logit.'),
  'ctr': _float('ctr', _RECIPE.ctr, 'Expected label rate.'),
}
OF_SYNTHETIC = ('rows', *(flag.name for flag in RECIPE.values()))

PLAN = _string('plan', None, 'Plan of launch.select: the fields and values of --data to keep.')
DATA = _string('data', None, 'Dataset directory that --plan is about; its rows stay as they are.')
GROUPS = {
  'Logs': OF_LOGS,
  'Synthetic data': OF_SYNTHETIC,
  'Another data set': (PLAN.name, DATA.name),
}
