"""Every hyper-parameter that all models share: default, bounds, unit and one line of why.

Flags, `--help` and the sentences of errors are made from them; the options of a model stand in the
model's own file. A config has canonical JSON, and the hash of that is its run id.
"""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
from typing import Any, Literal, NamedTuple

MAX_SEED = 2**31 - 1  # a seed is an int32 of the state


class About(NamedTuple):
  """What is said of a setting; bounds of a tuple are those of each part."""

  why: str  # unit, and one line of why
  least: float | None = None  # the smallest value
  above: float | None = None  # what a value lies above
  most: float | None = None  # the largest value
  below: float | None = None  # what a value lies below
  # Whether trials of one program may differ in it; 'off_or_on': as long as it is 0 in all or none.
  differs: Literal['no', 'yes', 'off_or_on'] = 'no'


def setting(default: Any, why: str, **said: Any) -> Any:
  """A dataclass field that may be set by its name; `said` as in `About`."""
  return dataclasses.field(default=default, metadata={'about': About(why, **said)})


def share(default: float, why: str, **said: Any) -> Any:
  """A setting in [0, 1)."""
  return setting(default, why, least=0, below=1, **said)


@dataclasses.dataclass(frozen=True)
class NoOptions:
  """Of a model that has none of its own."""


@dataclasses.dataclass(frozen=True)
class Config:
  """One training run. Equal configs have equal run ids wherever the run directory lies."""

  # What is trained.
  model: str = setting('dense_mlp', 'architecture: a name in rec_sparse/models, or an import path')
  width: int = setting(
    128, 'units per layer; per view in multi-view models (1 in models without layers)', least=1
  )
  depth: int = setting(2, 'layers (1 in models without them)', least=0)
  views: int = setting(8, 'b: parallel views per layer (1 in models without views)', least=1)
  options: Any = NoOptions()  # the model's own options
  embedding_dim: int = setting(16, 'D: length of an embedding', least=1)
  embedding_init: float = setting(0.05, 'rows start uniform in +- this, in every model', above=0)
  table_dtype: Literal['float32', 'bfloat16'] = setting(
    'float32', 'of the stored table; bfloat16 rounds stochastically'
  )
  input_norm: Literal['batch', 'layer', 'none'] = setting(
    'batch', 'shared by all models: per field over a batch; per example; none'
  )
  hidden_norm: Literal['none', 'batch', 'layer'] = setting(
    'none', 'of hidden units before each ReLU: none; over a batch; per example'
  )
  head_hidden: tuple[int, ...] = setting(
    (), 'widths of ReLU layers of the head before its linear one', least=1
  )
  compute_dtype: Literal['float32', 'bfloat16'] = setting(
    'float32', 'of the dense layers; parameters, head and loss are float32'
  )
  dropout: float = share(0.0, 'share of hidden units dropped in training', differs='off_or_on')
  embedding_dropout: float = share(
    0.0, 'share of input dimensions dropped in training', differs='off_or_on'
  )
  unknown_share: float = share(
    0.01, 'share of values read as unknown in training, where no rare one trains row 0'
  )

  # Which weights are kept.
  sparsity: Literal[
    'none',
    'static',
    'set',
    'rigl',
    'dsl',
    'magnitude',
    'gradual',
    'rewind',
    'snip',
    'grasp',
    'synflow',
    'edge_popup',
  ] = setting('none', 'rule by which weights of dense kernels are kept: sparsity/rules.py')
  density: float = setting(1.0, 'share of these weights that is kept', above=0, most=1)
  density_by: Literal['erk', 'uniform'] = setting(
    'erk', 'more of small kernels (Erdos-Renyi), or the same share of each'
  )
  mask_every: int = setting(
    100, 'steps between changes of the masks: set, rigl, dsl, gradual, rewind', least=1
  )
  mask_share: float = setting(
    0.3, 'of the kept weights, exchanged at a change early on: set, rigl, dsl', above=0, most=1
  )
  mask_from: float = share(
    0.25, 'share of all steps that is dense at first: magnitude, gradual, rewind'
  )
  mask_until: float = setting(
    0.75,
    'share of all steps after which masks stay: set, rigl, dsl, gradual, rewind',
    above=0,
    most=1,
  )
  mask_structure: Literal['none', 'n_m', 'block'] = setting(
    'none',
    'what is kept or dropped as one: a weight; N of mask_group inputs, the same in each; a block',
  )
  mask_group: int = setting(4, 'of n_m: inputs of a group (M); N is density times it', least=2)
  mask_block: int = setting(16, 'of block: most inputs, and most outputs, of one', least=2)
  table_sparsity: Literal['none', 'static', 'set', 'dsl', 'magnitude', 'gradual'] = setting(
    'none', 'rule by which entries of embeddings are kept: sparsity/table_masks.py'
  )
  table_density: float = setting(1.0, 'share of these entries that is kept', above=0, most=1)

  # On what, and in which order.
  data_fingerprint: str = setting('', "SHA-256 of the prepared data set; '' until it is known")
  init_from: str = setting('', "checkpoint that it starts from: run id/step; '' for a start anew")
  batch_size: int = setting(1024, 'examples per step', least=1)
  epochs: int = setting(1, 'passes over the training split; 0 only initializes', least=0)
  seed: int = setting(
    0, 'of initialization, filters, row order and dropout', least=0, most=MAX_SEED, differs='yes'
  )
  shuffle: bool = setting(
    True, 'a new global row order each epoch; false: file order, for logs in order of time'
  )
  feed: Literal['resident', 'stream'] = setting(
    'resident', 'the data in device memory, or blocks from disk through Grain'
  )

  # How it is optimized.
  learning_rate: float = setting(
    1e-3, 'of the dense parameters (Adam), before its schedule', above=0, differs='yes'
  )
  schedule: Literal['constant', 'warmup_cosine', 'warmup_linear', 'plateau'] = setting(
    'constant',
    'of the learning rates: up over warmup_steps, then down to rate_floor at the last step; '
    'plateau: times plateau_factor at each validation without a better one',
  )
  warmup_steps: int = setting(0, 'of warmup_cosine and warmup_linear: steps of rising', least=0)
  plateau_factor: float = setting(
    0.1, 'of plateau: what rates are multiplied by', above=0, below=1, differs='yes'
  )
  rate_floor: float = setting(
    1e-3, 'lowest rate of a schedule that falls / learning_rate', least=0, most=1, differs='yes'
  )
  label_smoothing: float = share(
    0.0, 'share of the way from 0 and 1 to 1/2 that the labels go in the training loss'
  )
  positive_weight: float = setting(
    1.0, 'what a label of 1 weighs in the training loss; one of 0 weighs 1', above=0
  )
  clip_norm: float = setting(
    0.0, 'largest norm of all gradients of a step together; 0: any', least=0, differs='off_or_on'
  )
  weight_decay: float = setting(
    0.0, 'decoupled, times the learning rate, on matrices', least=0, differs='off_or_on'
  )
  table_optimizer: Literal['adam', 'adagrad', 'sgd'] = setting(
    'adam', 'of touched rows: Adam; row-wise Adagrad; SGD'
  )
  table_learning_rate_ratio: float = setting(
    1.0, 'learning rate of the table / learning_rate', above=0, differs='yes'
  )
  table_weight_decay: float = setting(
    0.0,
    "decoupled, times the table's learning rate, on the rows that table_decay_rows names",
    least=0,
    differs='off_or_on',
  )
  table_decay_rows: Literal['touched', 'all'] = setting(
    'touched', 'which rows decay at a step: those of its batch; all, at the same cost'
  )
  table_l2: float = setting(
    0.0,
    'added to the gradient of every row, touched or not, times the row: a pass over the table',
    least=0,
    differs='off_or_on',
  )

  # When it is looked at.
  eval_every: int = setting(0, 'steps between validations; 0: once an epoch', least=0)
  monitor: Literal['logloss', 'auc', 'gauc_impressions', 'gauc_users'] = setting(
    'logloss', 'the validation metric, mean over tasks, that says which checkpoint is best'
  )
  patience: int = setting(
    0, 'validations without a better one before stopping; 0: never stop early', least=0
  )
  checkpoint_every: int = setting(
    0, 'steps between checkpoints besides those at validations; 0: none', least=0
  )
  keep_every: int = setting(
    0, 'steps between checkpoints that are never deleted; 0: the best and the last stay', least=0
  )


# Title -> the first setting below it.
GROUPS = {
  'What is trained': 'model',
  'Which weights are kept': 'sparsity',
  'On what, and in which order': 'data_fingerprint',
  'How it is optimized': 'learning_rate',
  'When it is looked at': 'eval_every',
}


def about(field: dataclasses.Field) -> About:
  """What its file says of a setting."""
  return field.metadata['about']


def trial(config: Config) -> dict[str, Any]:
  """The settings in which trials of its shape may differ: name -> value."""
  values = {}
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    differs = about(field).differs if 'about' in field.metadata else 'no'
    if differs == 'yes' or differs == 'off_or_on' and value:
      values[field.name] = value
  return values


def shape(config: Config) -> Config:
  """The same for all trials that one program can train; in it, 1 stands for what may differ."""
  return in_trial(config, dict.fromkeys(trial(config), 1))


def in_trial(config: Config, values: Mapping[str, Any]) -> Config:
  """The config with the values of another trial of its shape; they may be arrays."""
  return dataclasses.replace(config, **values)


def is_off(value: Any) -> bool:
  """Whether a setting is 0 in all trials of its shape; one that is not may be an array."""
  return isinstance(value, int | float) and not value


def in_short(config: Config) -> str:
  """Model and size, for people: 'ssr_s 16x2'."""
  return f'{config.model} {config.width}x{config.depth}'


def to_json(config: Config) -> str:
  """Canonical text: sorted keys, one field a line."""
  return json.dumps(dataclasses.asdict(config), sort_keys=True, indent=1) + '\n'


def run_id(config: Config) -> str:
  """SHA-256 of the canonical JSON, 64 hexadecimal digits."""
  return hashlib.sha256(to_json(config).encode()).hexdigest()


def to_raw(config: Config) -> dict[str, Any]:
  """The config as JSON has it; `settings.from_raw` is the inverse."""
  return json.loads(to_json(config))


def flat(raw: dict[str, Any]) -> dict[str, Any]:
  """A config as JSON has it, the model's own options beside its other fields."""
  shared = {name: value for name, value in raw.items() if name != 'options'}
  return shared | raw.get('options', {})


def differing(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
  """Names of the fields in which two configs as JSON has them, both `flat` or neither, differ."""
  absent = object()
  return sorted(
    name for name in ours | theirs if ours.get(name, absent) != theirs.get(name, absent)
  )
