"""A model in a file outside of the package goes through every program, by its import path."""

import functools
import json

import numpy as np
import pytest

from launch import analyze
from launch import config_flags
from launch import evaluate
from launch import main as main_lib
from launch import prepare
from launch import prepare_flags
from launch import sweep
from launch import train
from rec_sparse.runs import feeds

MODEL = '''
"""Four tanh layers, of which a constant mask keeps some units, and first-order weights."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from rec_sparse import flops
from rec_sparse.config import setting
from rec_sparse.models import layers
from rec_sparse.models.architecture import Architecture

DEPTH = 4


@dataclasses.dataclass(frozen=True)
class Options:
  kept: float = setting(0.5, 'share of the units that each layer keeps', above=0, most=1)


class Toy(nn.Module):
  config: object
  inputs: object

  @nn.compact
  def __call__(self, rows, weight_B=None, *, train):
    x_NxB = layers.Input(self.config, name='input')(rows['embedding'], weight_B, train=train)
    for i in range(DEPTH):
      mask_H = self.get_variable('constants', f'layer_{i}')
      x_NxB = nn.tanh(layers.Linear(self.config.width, name=f'layer_{i}')(x_NxB))
      x_NxB = x_NxB * mask_H[:, None]
    logits_BxT = layers.Head((), self.inputs.tasks, name='head')(x_NxB)
    return logits_BxT + jnp.sum(rows['linear'], axis=1)


def masks(config, inputs, seed):
  rng = np.random.default_rng(seed)
  draws = rng.random((DEPTH, config.width)) < config.options.kept
  return {f'layer_{i}': mask_H.astype(np.float32) for i, mask_H in enumerate(draws)}


def cost(config, inputs):
  widths = (inputs.size, *(config.width,) * DEPTH, inputs.tasks)
  return flops.total(flops.linear(n, h) for n, h in zip(widths, widths[1:]))


def columns(config, inputs):
  return {'embedding': config.embedding_dim, 'linear': 1}


ARCHITECTURE = Architecture(
  Toy, cost, Options, constants=masks, columns=columns, knobs=('width',)
)
'''
SMALL = ['--width=8', '--embedding_dim=4', '--batch_size=128', '--set=table_optimizer=adagrad']


def call(program, own, *arguments):
  return main_lib.call(program.main, own, list(arguments))


def last_line(capsys):
  return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.fixture(autouse=True)
def outside(tmp_path, monkeypatch):
  (tmp_path / 'outside').mkdir()
  (tmp_path / 'outside' / 'my_toy.py').write_text(MODEL)
  monkeypatch.syspath_prepend(tmp_path / 'outside')


def test_a_model_outside_the_package_goes_through_every_program(tmp_path, monkeypatch, capsys):
  data = tmp_path / 'data'
  made = call(
    prepare, prepare_flags.FLAGS, '--source=synthetic', '--rows=1200', '--fields=4', f'--out={data}'
  )
  assert made == 0

  config_flags.define_outside(train.FLAGS, ['--model=my_toy'])  # as launch.train does at its start

  def trained(name, *arguments):
    out = tmp_path / name
    flags = [f'--data={data}', f'--out={out}', '--model=my_toy', '--mesh=1', *SMALL]
    assert call(train, train.FLAGS, *flags, *arguments) == 0
    return last_line(capsys)['valid_logloss']

  whole = trained('resident', '--epochs=2', '--kept=0.8')

  streamed = ('--epochs=2', '--kept=0.8', '--feed=stream', '--checkpoint_every=3')
  monkeypatch.setattr(feeds, 'DISPATCH', 3)
  cut_after_one_dispatch(monkeypatch)
  with pytest.raises(KeyboardInterrupt):
    trained('cut', *streamed)
  monkeypatch.undo()
  monkeypatch.syspath_prepend(tmp_path / 'outside')
  np.testing.assert_allclose(trained('cut', *streamed), whole, rtol=1e-6)

  sharded = trained('sharded', '--epochs=2', '--kept=0.8', '--mesh=4,2')
  np.testing.assert_allclose(sharded, whole, rtol=1e-4)

  assert call(evaluate, evaluate.FLAGS, f'--run={tmp_path / "resident"}') == 0
  assert np.isfinite(last_line(capsys)['logloss'])
  assert call(analyze, analyze.FLAGS, f'--run={tmp_path / "resident"}') == 0
  assert (tmp_path / 'resident' / 'analysis' / 'implicit_sparsity.json').is_file()

  flags = [f'--data={data}', f'--out={tmp_path / "study"}', '--arms=my_toy', '--widths=4']
  assert call(sweep, sweep.FLAGS, *flags, '--learning_rates=1e-2', '--seeds=1', *SMALL[1:]) == 0
  records = [json.loads(path.read_text()) for path in (tmp_path / 'study' / 'trials').iterdir()]
  assert {(record['arm'], record['status']) for record in records} == {('my_toy', 'finished')}


def cut_after_one_dispatch(monkeypatch):
  """The process dies in its second dispatch."""
  opened = feeds.open_feed

  def open_feed(*arguments):
    feed = opened(*arguments)
    done = []

    def advance(state, steps):
      if done:
        raise KeyboardInterrupt
      done.append(steps)
      return feed.advance(state, steps)

    return feed._replace(advance=advance)

  monkeypatch.setattr(feeds, 'open_feed', functools.wraps(opened)(open_feed))
