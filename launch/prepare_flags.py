"""The flags of launch.prepare, and which of them belong to which kind of source."""

from absl import flags

from data_pipelines import prepare
from data_pipelines import synthetic
from data_pipelines import teacher
from launch import flag_definers

FLAGS = flags.FlagValues()
define = flag_definers.into(FLAGS)
_LOG, _RECIPE = prepare.Job('', {}), teacher.Recipe()  # the defaults
_LAWS = ', '.join(f'{name} {exponent}' for name, exponent in teacher.SKEWS.items())

SOURCE = define.enum(
  'source', None, [*prepare.READERS, 'synthetic'], 'What to read; none with --plan.'
)
OUT = define.string('out', None, 'Dataset directory to make.', required=True)
SPLIT_SEED = define.integer(
  'split_seed', _LOG.split_seed, 'Decides which rows of train go to a missing split.'
)

FILES = {
  'train': define.list(
    'train',
    [],
    'Training files: paths, directories of parts or globs; text may be '
    'compressed with gzip, bz2, xz or zstd.',
  ),
  'valid': define.list('valid', [], 'Validation files; when missing, one row for each 8 of train.'),
  'test': define.list('test', [], 'Test files; when missing, one row for each 8 of train.'),
}
SPEC = define.string(
  'spec',
  None,
  'JSON file that gives the columns their parts: label, categorical, numeric, group, drop; '
  'the texts that mean missing; for text also columns and delimiter.',
)
GROUP = define.string(
  'group', None, 'Column whose values are the groups of GAUC; it may be a feature as well.'
)
NUMERIC = define.string(
  'numeric',
  _LOG.numeric,
  'What numeric columns become: quantile (ids of buckets with equally '
  'many training rows), value (standardised, times an embedding) or log_square (ids of the '
  'buckets of the Criteo protocols); the spec may say so per column.',
)
BUCKETS = define.integer(
  'buckets',
  _LOG.buckets,
  'Buckets of a column in quantile mode; one with fewer different values has one for each.',
  lower_bound=2,
)
MIN_COUNT = define.integer(
  'min_count',
  _LOG.min_count,
  'Training rows that a value needs for an id of its own.',
  lower_bound=1,
)
VOCAB_FROM = define.string(
  'vocab_from',
  None,
  'Dataset directory whose spec, vocabularies and edges encode these logs, '
  'for a model that was trained on it; only the splits that are named are made.',
)
OF_ENCODER = ('spec', 'group', 'numeric', 'buckets', 'min_count', 'split_seed')  # it decides these
OF_LOGS = (*FILES, 'spec', 'group', 'numeric', 'buckets', 'min_count', 'vocab_from')

ROWS = define.integer('rows', synthetic.ROWS, 'Rows over all splits.')
RECIPE = {  # by field of teacher.Recipe
  'fields': define.integer('fields', _RECIPE.fields, 'Fields.'),
  'vocab': define.integer('vocab', _RECIPE.vocab, 'Different values of each field.'),
  'skew': define.enum(
    'skew', _RECIPE.skew, list(teacher.SKEWS), f'Zipf exponent of the values: {_LAWS}.'
  ),
  'seed': define.integer('seed', _RECIPE.seed, 'Of the planted network and of the rows.'),
  'hidden': define.integer('teacher_hidden', _RECIPE.hidden, 'Planted hidden units.'),
  'inputs': define.integer(
    'teacher_inputs',
    _RECIPE.inputs,
    'Dimensions that each unit reads; fields times teacher_dims gives a dense teacher.',
  ),
  'dims': define.integer('teacher_dims', _RECIPE.dims, 'Dimensions of the vector of an id.'),
  'signal': define.float(
    'signal', _RECIPE.signal, 'Standard deviation of the logit without its noise.'
  ),
  'noise': define.float('noise', _RECIPE.noise, 'Standard deviation of the noise of the logit.'),
  'ctr': define.float('ctr', _RECIPE.ctr, 'Expected label rate.'),
}
OF_SYNTHETIC = ('rows', *(flag.name for flag in RECIPE.values()))

PLAN = define.string('plan', None, 'Plan of launch.select or launch.dims: what of --data to keep.')
DATA = define.string(
  'data', None, 'Dataset directory that --plan is about; its rows stay as they are.'
)
GROUPS = {
  'Logs': OF_LOGS,
  'Synthetic data': OF_SYNTHETIC,
  'Another data set': (PLAN.name, DATA.name),
}
