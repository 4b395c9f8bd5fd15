"""Two feeds, one order: stream.py and resident.py yield equal batches for equal seeds."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines import blocks
from data_pipelines import resident
from data_pipelines import stream

BATCH = 96  # 11 steps per epoch of 1,000 rows, the last one of 40
STEPS = 25  # into the third epoch


def _open(dataset):
  directory, schema = dataset
  return blocks.open_split(directory, schema, 'train')


def _stream(split, **options):
  settings = {'batch_size': BATCH, 'seed': 5, 'shuffle': True, 'steps': STEPS} | options
  with contextlib.closing(stream.train_stream(split, **settings)) as batches:
    return list(batches)


def _assert_equal(batch, expected):
  assert batch.keys() == expected.keys()
  for name in batch:
    assert batch[name].dtype == expected[name].dtype, name
    np.testing.assert_array_equal(batch[name], expected[name], err_msg=name)


@pytest.mark.parametrize('shuffle', [True, False])
def test_feeds_are_equal_over_epochs(dataset, shuffle):
  split = _open(dataset)
  data = resident.to_device(split)
  batch_at = jax.jit(
    lambda step, seed: resident.batch_at(data, step, batch_size=BATCH, seed=seed, shuffle=shuffle)
  )
  for step, batch in enumerate(_stream(split, shuffle=shuffle)):
    _assert_equal(jax.device_get(batch_at(step, 5)), batch)


def test_resident_inside_scan_and_vmap(dataset):
  split = _open(dataset)
  data = resident.to_device(split)

  def run(seed):
    def next_batch(carry, step):
      return carry, resident.batch_at(data, step, batch_size=BATCH, seed=seed, shuffle=True)

    return jax.lax.scan(next_batch, 0, jnp.arange(STEPS))[1]

  stacked = jax.device_get(jax.jit(jax.vmap(run))(jnp.array([5, 6])))
  for i, seed in enumerate((5, 6)):
    for step, batch in enumerate(_stream(split, seed=seed)):
      _assert_equal({name: column[i, step] for name, column in stacked.items()}, batch)


def test_an_epoch_has_no_row_twice_and_epochs_differ(dataset):
  batches = _stream(_open(dataset))
  values = [b['value_BxA'][b['weight_B'] == 1, 0] for b in batches]
  epochs = [np.concatenate(values[e * 11 : (e + 1) * 11]) for e in range(2)]
  assert all(len(epoch) == len(np.unique(epoch)) == 1000 for epoch in epochs)
  assert np.mean(epochs[0] == epochs[1]) < 0.05


def test_stream_resumes_exactly(dataset):
  split = _open(dataset)
  expected = _stream(split)
  options = {'batch_size': BATCH, 'seed': 5, 'shuffle': True, 'steps': STEPS}
  with contextlib.closing(stream.train_stream(split, **options)) as first:
    for _ in range(11):  # just after a partial batch
      next(first)
    state = first.get_state()
  with contextlib.closing(stream.train_stream(split, **options)) as second:
    second.set_state(state)
    rest = list(second)
  assert len(rest) == STEPS - 11
  for batch, want in zip(rest, expected[11:], strict=True):
    _assert_equal(batch, want)


def test_hosts_read_parts_of_one_global_batch(dataset):
  split = _open(dataset)
  parts = [_stream(split, part=part) for part in ((0, 7), (7, 32), (32, BATCH))]
  for step, whole in enumerate(_stream(split)):
    _assert_equal({name: np.concatenate([p[step][name] for p in parts]) for name in whole}, whole)


@pytest.mark.parametrize('batch_size', [96, 1000, 1024])
def test_evaluation_sees_each_row_once_in_order(dataset, batch_size):
  split = _open(dataset)
  everything, data = blocks.read_all(split), resident.to_device(split)
  batches = list(stream.eval_batches(split, batch_size))
  assert len(batches) == stream.eval_steps(split.rows, batch_size)
  real_B = np.concatenate([b['weight_B'] for b in batches]) == 1
  for name, column in everything.items():
    np.testing.assert_array_equal(np.concatenate([b[name] for b in batches])[real_B], column)
  for index, batch in enumerate(batches):
    assert batch['ids_BxF'].shape == (batch_size, 4)
    _assert_equal(jax.device_get(resident.eval_batch_at(data, index, batch_size)), batch)


@pytest.mark.parametrize(
  'options,message',
  [
    ({'batch_size': 1001}, 'batch_size=1001.*1000 rows'),
    ({'batch_size': 0}, 'batch_size=0'),
    ({'part': (5, 5)}, 'part=5,5'),
    ({'part': (0, 97)}, 'part=0,97: not a part of a batch of 96'),
  ],
)
def test_bad_options_are_named(dataset, options, message):
  with pytest.raises(ValueError, match=message):
    _stream(_open(dataset), **options)


def test_feed_is_measured(dataset):
  assert stream.measure_feed(_open(dataset), batch_size=BATCH, seconds=0.05) > 0
