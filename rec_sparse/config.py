"""Every hyper-parameter, with its default, its unit and one line of why; canonical JSON; run id."""

import dataclasses
import difflib
import hashlib
import json
import math
import typing
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class DenseMLP:
  """Options of `dense_mlp` beyond width (units per hidden layer) and depth (hidden layers; 0 is
  linear in the rows).
  """


@dataclasses.dataclass(frozen=True)
class DCNV2:
  """Options of `dcn_v2` (arXiv 2008.13535, full matrices) beyond width and depth of its hidden
  layers.
  """

  structure: Literal['parallel', 'stacked'] = (
    'parallel'  # hidden layers beside the cross network, or on top of it
  )
  cross_layers: int = 3  # L: full cross layers


@dataclasses.dataclass(frozen=True)
class SSRS:
  """Options of `ssr_s` (arXiv 2604.08011, section 3): a fixed random subset of dimensions per view."""

  form: Literal['paper', 'code'] = (
    'paper'  # the paper's equations, or the official code: sets defaults in FORMS
  )
  view_widths: tuple[int, ...] = ()  # d_v of each layer; empty: `width` in all `depth` layers
  residual: bool = False  # adds what a view kept to its fused output, before the normalization
  filter_unit: Literal['dimension', 'field'] = (
    'dimension'  # what the first layer keeps or drops as a whole
  )
  filter_draw: Literal['layer', 'shared'] = (
    'layer'  # every layer draws anew, or all layers from the same numbers
  )
  filter: Literal['random', 'learned'] = (
    'random'  # what was drawn for good, or only to start the warm-up from
  )
  filter_warmup: int = (
    100  # learned: steps in which a view chooses what it keeps; fixed from then on
  )


@dataclasses.dataclass(frozen=True)
class SSRD:
  """Options of `ssr_d` (arXiv 2604.08011, sections 3 and 4): a learned projection, then
  competition.
  """

  form: Literal['paper', 'code'] = (
    'paper'  # the paper's equations, or the official code: sets defaults in FORMS
  )
  view_widths: tuple[int, ...] = ()  # d_v of each layer; empty: `width` in all `depth` layers
  projection_ratio: float = 2.0  # d_v* / d_v; the paper says only "typically d_v* > d_v"
  value_gate: bool = False  # multiplies the filtered projection with a second one, x W_value
  residual: bool = (
    False  # adds the filtered projection to its fused output, before the normalization
  )
  gate: Literal[
    'ics',
    'one_iteration',
    'relu',
    'soft_threshold',
    'top_k',
    'top_k_values',
    'dropout',
    'sigmoid',
    'gumbel',
    'sparsemax',
    'entmax15',
    'identity',
  ] = 'ics'  # the filter, or a control in its place
  iterations: int = 5  # T of equation 12
  alpha: float = 0.1  # initial extinction rate alpha_t of equation 12
  alpha_shape: Literal['iteration', 'scalar', 'dimension'] = (
    'iteration'  # one per iteration, one, or one per both
  )
  alpha_sign: Literal['free', 'positive'] = 'free'  # positive: softplus of a free parameter
  gamma: bool = True  # learnable output scale of equation 14
  gate_kept: float = 0.5  # top_k: share of the d_v* dimensions kept
  gate_dropout: float = 0.5  # dropout gate: share of the d_v* dimensions dropped in training
  gate_temperature: float = 1.0  # gumbel: of the relaxed bits
  gate_mass: float = 0.25  # sparsemax, entmax15: mean output per dimension before gamma


FORMS: dict[
  tuple[str, str], dict[str, Any]
] = {  # (model, form) -> the defaults that differ from the paper's
  ('ssr_s', 'code'): {'residual': True, 'head_hidden': (64,)},
  ('ssr_d', 'code'): {'residual': True, 'value_gate': True, 'projection_ratio': 1.0},
}
ModelOptions = DenseMLP | DCNV2 | SSRS | SSRD
MODEL_OPTIONS: dict[str, type] = {
  'dense_mlp': DenseMLP,
  'dcn_v2': DCNV2,
  'ssr_s': SSRS,
  'ssr_d': SSRD,
}


@dataclasses.dataclass(frozen=True)
class Config:
  """One training run. Equal configs have equal run ids wherever the run directory lies."""

  # What is trained.
  model: str = 'dense_mlp'  # a name of MODEL_OPTIONS
  width: int = 128  # units per layer; per view in multi-view models
  depth: int = 2  # layers
  views: int = 8  # b: parallel views per layer (1 in models without views)
  options: ModelOptions = DenseMLP()  # the model's own options
  embedding_dim: int = 16  # D: length of a table row
  embedding_init: float = 0.05  # rows start uniform in +- this, in every model
  table_dtype: Literal['float32', 'bfloat16'] = (
    'float32'  # of the stored table; bfloat16 rounds stochastically
  )
  input_norm: Literal['batch', 'layer', 'none'] = (
    'batch'  # shared by all models: per field over batch; per example
  )
  head_hidden: tuple[int, ...] = ()  # ReLU layers of the head before its linear one
  compute_dtype: Literal['float32', 'bfloat16'] = (
    'float32'  # of the dense layers; parameters, head, loss: float32
  )
  dropout: float = 0.0  # share of hidden units dropped in training
  embedding_dropout: float = 0.0  # share of input dimensions dropped in training
  unknown_share: float = 0.01  # of values read as unknown in training, if no rare one trains row 0

  # On what, and in which order.
  data_fingerprint: str = ''  # SHA-256 of the prepared data set; '' until the data is known
  batch_size: int = 1024  # examples per step
  epochs: int = 1  # passes over the training split
  seed: int = 0  # initialization, filters, row order, dropout
  shuffle: bool = True  # a new global row order each epoch; false: file order (time-ordered logs)
  feed: Literal['resident', 'stream'] = (
    'resident'  # device memory, or blocks from disk through Grain
  )

  # How it is optimized.
  learning_rate: float = 1e-3  # of the dense parameters (Adam)
  weight_decay: float = 0.0  # decoupled, times the learning rate, on matrices
  table_optimizer: Literal['adam', 'adagrad', 'sgd'] = (
    'adam'  # row-sparse Adam; row-wise Adagrad; SGD
  )
  table_learning_rate_ratio: float = 1.0  # table learning rate / learning_rate
  table_weight_decay: float = (
    0.0  # decoupled, times the table's learning rate, on rows a step touches
  )

  # When it is looked at.
  eval_every: int = 0  # steps between validations; 0: once an epoch
  monitor: Literal['logloss', 'auc'] = (
    'logloss'  # the validation metric that says which checkpoint is best
  )
  patience: int = 0  # validations without a better one before stopping; 0: never stop early
  checkpoint_every: int = 0  # steps between checkpoints besides those at validations; 0: none
  keep_every: int = (
    0  # steps between checkpoints that are never deleted; 0: the best and the last alone stay
  )


MULTI_VIEW = ('ssr_s', 'ssr_d')  # in every other model `views` is 1, whatever a sweep turns it to
MAX_SEED = 2**31 - 1  # a seed is an int32 of the state


def make(model: str, overrides: dict[str, Any] | None = None) -> Config:
  """The config of `model` with `overrides` (values already typed) by field name, its own options
  included.

  A form is resolved here: the config holds each option that it stands for.

  Raises ValueError naming the field: unknown names list the nearest ones, values of another type or
  out of range say what is expected.
  """
  if not isinstance(model, str) or model not in MODEL_OPTIONS:
    raise ValueError(f'model {model!r} is unknown; choose one of {", ".join(MODEL_OPTIONS)}')
  overrides = overrides or {}
  kinds = settable(model)
  for name, value in overrides.items():
    if name not in kinds:
      raise ValueError(_unknown(name, model, kinds))
    if not _is_of(value, kinds[name]):
      raise ValueError(f'{name}={value!r}: expected {_in_words(kinds[name])}')
  overrides = FORMS.get((model, overrides.get('form')), {}) | overrides
  own = {f.name for f in dataclasses.fields(MODEL_OPTIONS[model])}
  options = MODEL_OPTIONS[model](**{k: v for k, v in overrides.items() if k in own})
  config = Config(
    model=model, options=options, **{k: v for k, v in overrides.items() if k not in own}
  )
  if model not in MULTI_VIEW:
    config = dataclasses.replace(config, views=1)
  _check(config)
  return config


def settable(model: str) -> dict[str, Any]:
  """Field name -> type of all that may be overridden for `model`."""
  kinds = typing.get_type_hints(Config) | typing.get_type_hints(MODEL_OPTIONS[model])
  return {name: kind for name, kind in kinds.items() if name not in ('model', 'options')}


def parse_settings(model: str, settings: list[str]) -> dict[str, Any]:
  """['dropout=0.1', 'view_widths=128,64'] -> typed overrides; raises ValueError naming the setting."""
  kinds, parsed = settable(model), {}
  for setting in settings:
    name, equals, text = setting.partition('=')
    if not equals:
      raise ValueError(f'--set {setting!r}: expected name=value')
    if name not in kinds:
      raise ValueError('--set ' + _unknown(name, model, kinds))
    parsed[name] = _parse(name, text, kinds[name])
  return parsed


def to_json(config: Config) -> str:
  """Canonical text: sorted keys, one field a line."""
  return json.dumps(dataclasses.asdict(config), sort_keys=True, indent=1) + '\n'


def run_id(config: Config) -> str:
  """SHA-256 of the canonical JSON, 64 hexadecimal digits."""
  return hashlib.sha256(to_json(config).encode()).hexdigest()


def from_json(text: str) -> Config:
  """Inverse of `to_json`; raises ValueError naming the field that is unknown, missing, or of a
  wrong value.
  """
  return from_raw(json.loads(text))


def to_raw(config: Config) -> dict[str, Any]:
  """The config as JSON has it: the inverse of `from_raw`."""
  return json.loads(to_json(config))


def from_raw(raw: Any) -> Config:
  """The config of a JSON value, otherwise as `from_json`."""
  if (
    not isinstance(raw, dict)
    or not isinstance(raw.get('model'), str)
    or not isinstance(raw.get('options'), dict)
  ):
    raise ValueError('not a config: expected an object with model and options')
  given = flat(raw)
  model = given.pop('model')
  # `make` names an unknown model
  missing = set(settable(model)) - set(given) if model in MODEL_OPTIONS else ()
  if missing:
    raise ValueError(f'config lacks {", ".join(sorted(missing))}')
  return make(model, {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})


def flat(raw: dict[str, Any]) -> dict[str, Any]:
  """A config as JSON has it, the model's own options beside its other fields."""
  return {k: v for k, v in raw.items() if k != 'options'} | raw.get('options', {})


def differing(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
  """Names of the fields in which two configs as JSON has them, both `flat` or neither, differ."""
  return sorted(
    k for k in ours | theirs if (k in ours, ours.get(k)) != (k in theirs, theirs.get(k))
  )


def _is_of(value: Any, kind: Any) -> bool:
  """Whether a value has the type of its field; an integer will do for a float."""
  if typing.get_origin(kind) is Literal:
    return isinstance(value, str) and value in typing.get_args(kind)
  if typing.get_origin(kind) is tuple:
    return isinstance(value, tuple) and all(_is_of(part, int) for part in value)
  if isinstance(value, bool):
    return kind is bool
  return isinstance(value, (int, float) if kind is float else kind)


def _in_words(kind: Any) -> str:
  if typing.get_origin(kind) is Literal:
    return f'one of {", ".join(typing.get_args(kind))}'
  return 'integers separated by commas' if typing.get_origin(kind) is tuple else kind.__name__


def _parse(name: str, text: str, kind: Any) -> Any:
  try:
    if typing.get_origin(kind) is Literal:
      return {choice: choice for choice in typing.get_args(kind)}[text]
    if typing.get_origin(kind) is tuple:
      return tuple(int(part) for part in text.split(',') if part)
    if kind is bool:
      return {'true': True, '1': True, 'false': False, '0': False}[text.lower()]
    return kind(text)
  except (ValueError, KeyError):
    raise ValueError(f'--set {name}={text}: expected {_in_words(kind)}') from None


def _unknown(name: str, model: str, kinds: dict[str, Any]) -> str:
  near = difflib.get_close_matches(name, kinds, n=3, cutoff=0.5)
  hint = f'did you mean {" or ".join(near)}?' if near else f'known: {", ".join(kinds)}'
  return f'{name}: {model} has no such field; {hint}'


def _check(config: Config) -> None:
  values = dataclasses.asdict(config) | dataclasses.asdict(config.options)
  for name, value in values.items():
    if isinstance(value, float) and not math.isfinite(value):
      raise ValueError(f'{name}={value}: expected a finite number')
  positive = (
    'width',
    'views',
    'embedding_dim',
    'batch_size',
    'learning_rate',
    'embedding_init',
    'projection_ratio',
    'table_learning_rate_ratio',
    'iterations',
    'gate_temperature',
    'gate_mass',
    'cross_layers',
    'filter_warmup',
  )
  for name in positive:
    if name in values and not values[name] > 0:
      raise ValueError(f'{name}={values[name]}: expected a number above 0')
  not_negative = (
    'epochs',
    'seed',
    'eval_every',
    'patience',
    'checkpoint_every',
    'keep_every',
    'weight_decay',
    'table_weight_decay',
    'alpha',
  )
  for name in not_negative:
    if name in values and not values[name] >= 0:
      raise ValueError(f'{name}={values[name]}: expected a number not below 0')
  if config.seed > MAX_SEED:
    raise ValueError(f'seed={config.seed}: expected at most {MAX_SEED}')
  for name in ('dropout', 'embedding_dropout', 'unknown_share', 'gate_dropout'):
    if name in values and not 0 <= values[name] < 1:
      raise ValueError(f'{name}={values[name]}: expected a share in [0, 1)')
  if config.depth < (config.model in MULTI_VIEW):
    raise ValueError(f'depth={config.depth}: expected at least {int(config.model in MULTI_VIEW)}')
  if not 0 < values.get('gate_kept', 1) <= 1:
    raise ValueError(f'gate_kept={values["gate_kept"]}: expected a share in (0, 1]')
  if values.get('alpha_sign') == 'positive' and not values['alpha'] > 0:
    raise ValueError(f'alpha={values["alpha"]}: expected a number above 0 with alpha_sign=positive')
  if min((1, *config.head_hidden)) < 1:
    raise ValueError(
      f'head_hidden={",".join(map(str, config.head_hidden))}: expected positive widths'
    )
  if values.get('residual') and values.get('projection_ratio', 1.0) != 1.0:
    raise ValueError(
      f'projection_ratio={values["projection_ratio"]}: a residual needs 1, d_v* equal to d_v'
    )
  if values.get('residual') and values.get('filter') == 'learned':
    raise ValueError(
      'filter=learned: needs residual=false, a mask gives what it keeps no place in the output'
    )
  widths = values.get('view_widths', ())
  if widths and (len(widths) != config.depth or min(widths) < 1):
    raise ValueError(
      f'view_widths={",".join(map(str, widths))}: expected {config.depth} positive widths, one a layer'
    )
