"""Configs: overrides, canonical JSON, run ids, and errors that name the field."""

import dataclasses
import json

from absl import flags
import pytest

from launch import config_flags
from rec_sparse import config as config_lib
from rec_sparse import settings


def test_run_id_is_the_sha256_of_the_canonical_json_and_survives_a_round_trip():
  config = settings.make('ssr_d', {'depth': 2, 'view_widths': (128, 64), 'dropout': 0.1})
  again = settings.from_json(config_lib.to_json(config))
  assert again == config
  assert config_lib.run_id(again) == config_lib.run_id(config)
  assert config_lib.run_id(dataclasses.replace(config, seed=1)) != config_lib.run_id(config)


def test_golden_config():
  """A changed default changes every run id: if that is meant, update this text."""
  raw = json.loads(config_lib.to_json(settings.make('ssr_s')))
  assert raw == {
    'batch_size': 1024,
    'checkpoint_every': 0,
    'clip_norm': 0.0,
    'compute_dtype': 'float32',
    'data_fingerprint': '',
    'density': 1.0,
    'density_by': 'erk',
    'depth': 2,
    'dropout': 0.0,
    'embedding_dim': 16,
    'embedding_dropout': 0.0,
    'embedding_init': 0.05,
    'epochs': 1,
    'eval_every': 0,
    'feed': 'resident',
    'head_hidden': [],
    'hidden_norm': 'none',
    'init_from': '',
    'input_norm': 'batch',
    'keep_every': 0,
    'label_smoothing': 0.0,
    'learning_rate': 0.001,
    'mask_block': 16,
    'mask_every': 100,
    'mask_from': 0.25,
    'mask_group': 4,
    'mask_share': 0.3,
    'mask_structure': 'none',
    'mask_until': 0.75,
    'model': 'ssr_s',
    'monitor': 'logloss',
    'options': {
      'filter': 'random',
      'filter_draw': 'layer',
      'filter_unit': 'dimension',
      'filter_warmup': 100,
      'form': 'paper',
      'residual': False,
      'view_widths': [],
    },
    'patience': 0,
    'plateau_factor': 0.1,
    'positive_weight': 1.0,
    'rate_floor': 0.001,
    'schedule': 'constant',
    'seed': 0,
    'shuffle': True,
    'sparsity': 'none',
    'table_decay_rows': 'touched',
    'table_density': 1.0,
    'table_dtype': 'float32',
    'table_l2': 0.0,
    'table_learning_rate_ratio': 1.0,
    'table_optimizer': 'adam',
    'table_sparsity': 'none',
    'table_weight_decay': 0.0,
    'unknown_share': 0.01,
    'views': 8,
    'warmup_steps': 0,
    'weight_decay': 0.0,
    'width': 128,
  }


def test_a_form_is_a_set_of_defaults_that_single_options_override():
  code = settings.make('ssr_d', {'form': 'code'})
  assert code.options.value_gate and code.options.residual and code.options.projection_ratio == 1.0
  assert not settings.make('ssr_d', {'form': 'code', 'value_gate': False}).options.value_gate
  assert settings.make('ssr_s', {'form': 'code'}).head_hidden == (64,)
  assert settings.from_json(config_lib.to_json(code)) == code


def test_views_mean_nothing_to_a_model_without_views():
  assert settings.make('dense_mlp', {'views': 16}) == settings.make('dense_mlp', {'views': 4})


OPTIONS = """
from __future__ import annotations
import dataclasses
from typing import Literal

from rec_sparse.config import setting
from rec_sparse.models import dense_mlp
from rec_sparse.models.architecture import Architecture

@dataclasses.dataclass(frozen=True)
class Options:
  {option}

ARCHITECTURE = Architecture(dense_mlp.DenseMLP, dense_mlp.cost, Options, knobs=())
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
  """Writes a model whose options have one line -> its import path."""
  monkeypatch.syspath_prepend(tmp_path)

  def write(option):
    name = f'model_{abs(hash(option))}'
    (tmp_path / f'{name}.py').write_text(OPTIONS.replace('{option}', option))
    return name

  return write


def test_options_are_set_by_text_and_knobs_that_a_model_lacks_are_1(written):
  model = written('rates: tuple[float, ...] = setting((), "of each layer", above=0)')
  config = settings.make(model, settings.parse(model, ['rates=0.5,2', 'width=64', 'depth=7']))
  assert config.options.rates == (0.5, 2.0)
  assert (config.width, config.depth, config.views) == (1, 1, 1)

  with pytest.raises(ValueError, match='rates=0.5,x: expected finite numbers separated by commas'):
    settings.parse(model, ['rates=0.5,x'])


@pytest.mark.parametrize(
  ('option', 'message'),
  [
    ('rate: float = 0.5', 'option rate: expected a rec_sparse.config.setting'),
    ('rate: float | None = setting(None, "why")', 'option rate: type float | None cannot be set'),
    ('rate: dict = setting(None, "why")', 'option rate: type .*dict.* cannot be set by text'),
    ('rate: float = setting(1, "why", differs="yes")', 'option rate: trials .* cannot differ'),
  ],
)
def test_an_option_that_no_text_can_set_is_named(written, option, message):
  with pytest.raises(ValueError, match=message.replace('|', '[|]')):
    settings.make(written(option))


def test_flags_of_an_outside_model_are_there_however_it_is_named(written):
  model = written('rates: tuple[float, ...] = setting((), "of each layer", above=0)')
  for arguments in ([f'--model={model}'], ['--model', model], ['-model', model, '--out=x']):
    own = flags.FlagValues()
    assert config_flags.define_outside(own, arguments) == {f'Options of {model}': ['rates']}


def test_settings_are_typed_by_their_field():
  parsed = settings.parse(
    'ssr_d',
    ['view_widths=128,64', 'dropout=0.1', 'gamma=false', 'iterations=3', 'table_optimizer=adagrad'],
  )
  assert parsed == {
    'view_widths': (128, 64),
    'dropout': 0.1,
    'gamma': False,
    'iterations': 3,
    'table_optimizer': 'adagrad',
  }


@pytest.mark.parametrize(
  'setting, message',
  [
    ('dropuot=0.1', 'dropuot: ssr_s has no such field; did you mean dropout'),
    ('dropout', 'expected name=value'),
    ('dropout=much', 'dropout=much: expected a finite number of at least 0 and below 1'),
    ('iterations=3', 'iterations: ssr_s has no such field'),
    ('shuffle=perhaps', 'shuffle=perhaps: expected true or false'),
    ('table_optimizer=lion', 'table_optimizer=lion: expected one of adam, adagrad, sgd'),
    ('view_widths=4,x', 'view_widths=4,x: expected integers separated by commas'),
  ],
)
def test_wrong_settings_name_the_field(setting, message):
  with pytest.raises(ValueError, match=message):
    settings.parse('ssr_s', [setting])


@pytest.mark.parametrize(
  'overrides, message',
  [
    ({'width': 'x'}, "width='x': expected an integer of at least 1"),
    ({'dropout': True}, 'dropout=True: expected a finite number'),
    ({'view_widths': (4, 'x')}, 'expected integers separated by commas'),
    ({'shuffle': 1}, 'shuffle=1: expected true or false'),
    ({'form': {}}, 'form={}: expected one of paper, code'),
    ({'seed': 2**31}, 'seed=2147483648: expected .* at most 2147483647'),
    ({'learning_rate': float('inf')}, 'learning_rate=inf: expected a finite number'),
    ({'weight_decay': float('inf')}, 'weight_decay=inf: expected a finite number'),
    ({'width': 0}, 'width=0'),
    ({'depth': 0}, 'depth=0: expected at least 1'),
    ({'dropout': 1.0}, 'dropout=1.0'),
    ({'seed': -1}, 'seed=-1'),
    ({'view_widths': (1, 2, 3)}, 'view_widths=1,2,3: expected 2'),
    ({'input_norm': 'group'}, "input_norm='group'"),
    ({'keep_every': -1}, 'keep_every=-1'),
    ({'hidden_norm': 'batch'}, 'hidden_norm=batch: views have a layer normalization'),
    (
      {'table_decay_rows': 'all', 'learning_rate': 0.1, 'table_weight_decay': 10.0},
      'table_weight_decay=10.0: times the learning rate of the table it is 1, expected below 1',
    ),
    ({'learning_rate': float('nan')}, 'learning_rate=nan'),
    ({'head_hidden': (4, 0)}, 'head_hidden=4,0'),
  ],
)
def test_values_out_of_range_name_the_field(overrides, message):
  with pytest.raises(ValueError, match=message):
    settings.make('ssr_s', overrides)


@pytest.mark.parametrize(
  'overrides, message',
  [
    ({'gate_kept': 2.0}, 'gate_kept=2.0: expected a finite number above 0 and of at most 1'),
    ({'gate_dropout': 1.0}, 'gate_dropout=1.0: expected a finite number of at least 0 and below 1'),
  ],
)
def test_a_share_out_of_range_names_itself_alone(overrides, message):
  with pytest.raises(ValueError, match='^' + message):
    settings.make('ssr_d', overrides)


@pytest.mark.parametrize(
  'change, message',
  [
    (lambda raw: [], 'not a config'),
    (lambda raw: {}, 'not a config'),
    (lambda raw: raw | {'options': 3}, 'not a config'),
    (lambda raw: raw | {'model': 'mlp'}, "model 'mlp' is unknown"),
    (lambda raw: raw | {'width': 'x'}, "width='x'"),
    (lambda raw: {k: v for k, v in raw.items() if k != 'seed'}, 'config lacks seed'),
    (lambda raw: raw | {'rungs': 3}, 'rungs: ssr_s has no such field'),
    (
      lambda raw: raw | {'options': raw['options'] | {'view_widths': [8, 'x']}},
      'view_widths=.*: expected integers',
    ),
  ],
)
def test_wrong_json_names_the_field(change, message):
  with pytest.raises(ValueError, match=message):
    settings.from_raw(change(json.loads(config_lib.to_json(settings.make('ssr_s')))))


def test_unknown_model_lists_the_known_ones():
  with pytest.raises(ValueError, match='dense_mlp, dcn_v2, ssr_s, ssr_d'):
    settings.make('mlp')
