"""The synthetic data set on disk: what the schema says of it is so."""

import dataclasses

import numpy as np
import pytest

from data_pipelines import blocks
from data_pipelines import synthetic
from data_pipelines import teacher as teacher_lib
from data_pipelines import vocabulary

JOB = synthetic.Job(
  teacher_lib.Recipe(fields=4, vocab=20, hidden=3), rows=30_000, expected_error=1e-3
)


def _read(directory, schema, split='train'):
  return blocks.read_all(blocks.open_split(directory, schema, split))


@pytest.fixture(name='made', scope='module')
def _made(tmp_path_factory):
  directory = tmp_path_factory.mktemp('teacher') / 'out'
  return directory, synthetic.prepare(JOB, directory)[0]


def test_schema(made):
  directory, schema = made
  assert {name: split.rows for name, split in schema.splits.items()} == {
    'train': 24_000,
    'valid': 3000,
    'test': 3000,
  }
  assert [f.vocab_size for f in schema.fields] == [21] * 4
  for name, split in schema.splits.items():
    data = _read(directory, schema, name)
    assert split.positives == (data['label_BxT'].sum(),)
    assert (
      data['ids_BxF'] > schema.offsets
    ).all()  # row 0 of a field is for values that were never generated


def test_vocabulary_counts_training_rows(made):
  directory, schema = made
  ids_B = _read(directory, schema)['ids_BxF'][:, 1] - schema.offsets[1]
  table = vocabulary.load(directory, 'field_1')
  assert table['value'].to_list() == [None, *map(str, range(20))]
  assert table['count'].to_list() == np.bincount(ids_B, minlength=21).tolist()


def test_realised_loss_is_that_of_the_true_probability(made):
  directory, schema = made
  teacher = teacher_lib.make(JOB.recipe)
  for split, realised in schema.source['realised_logloss'].items():
    data = _read(directory, schema, split)
    logit_B = teacher_lib.logits(teacher, data['ids_BxF'] - np.array(schema.offsets) - 1)
    p_B = teacher_lib.probability(teacher, logit_B)
    loss_B = -np.log(np.where(data['label_BxT'][:, 0] == 1, p_B, 1 - p_B))
    assert abs(loss_B.mean() - realised) < 1e-5
    assert abs(realised - schema.teacher.logloss) < 4 * loss_B.std() / np.sqrt(len(loss_B))


def test_same_seed_same_bytes(made, tmp_path):
  again, other = (
    synthetic.prepare(
      dataclasses.replace(JOB, recipe=dataclasses.replace(JOB.recipe, seed=seed)),
      tmp_path / str(seed),
    )[0]
    for seed in (0, 1)
  )
  assert again == made[1]
  assert other.vocabulary != again.vocabulary  # value 5 of another teacher is another value
  assert (
    other.fingerprint != again.fingerprint
    and other.splits['train'].blocks != again.splits['train'].blocks
  )


def test_more_rows_only_append(made, tmp_path, monkeypatch):
  monkeypatch.setattr(synthetic, 'CHUNK_ROWS', 7001)
  few, many = (
    synthetic.prepare(dataclasses.replace(JOB, rows=rows), tmp_path / str(rows))[0]
    for rows in (9000, 20_000)
  )
  assert [many.splits[name].rows for name in ('train', 'valid', 'test')] == [16_000, 2000, 2000]
  few_data, many_data = _read(tmp_path / '9000', few), _read(tmp_path / '20000', many)
  for name, column in few_data.items():
    np.testing.assert_array_equal(column, many_data[name][: len(column)])


def test_chunks_are_not_repeats():
  first, second, *_ = synthetic.chunks(
    dataclasses.replace(JOB, rows=2 * synthetic.CHUNK_ROWS), teacher_lib.make(JOB.recipe)
  )
  assert (first[0] == second[0]).mean() < 0.5  # equal ids by chance, most at the most frequent one


def test_made_only_once(made):
  assert synthetic.prepare(JOB, made[0]) == (made[1], False)
  with pytest.raises(ValueError, match='not this data set'):
    synthetic.prepare(dataclasses.replace(JOB, rows=1000), made[0])


@pytest.mark.parametrize(
  'rows, recipe, message',
  [
    (99, {}, 'rows=99'),
    (100, {'signal': float('inf')}, 'signal=inf: expected a finite number'),
    (100, {'noise': float('nan')}, 'noise=nan: expected a finite number'),
    (100, {'signal': 1e3}, 'signal=1000.0, .*too large'),
    (100, {'signal': 1e300}, 'signal=1e.300, .*too large'),
  ],
)
def test_out_of_range(tmp_path, rows, recipe, message):
  with pytest.raises(ValueError, match=message):
    synthetic.prepare(
      synthetic.Job(dataclasses.replace(JOB.recipe, **recipe), rows), tmp_path / 'out'
    )
  assert not list(tmp_path.iterdir())
