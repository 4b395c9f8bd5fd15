"""Blocks keep what was written, give it back in any order, and say which file is damaged."""

import dataclasses

import numpy as np
import pytest

from data_pipelines import blocks


def _replace_block(schema, **changes):
  split = schema.splits['train']
  last = dataclasses.replace(split.blocks[-1], **changes)
  return dataclasses.replace(
    schema, splits={'train': dataclasses.replace(split, blocks=(*split.blocks[:-1], last))}
  )


def _last(dataset):
  directory, schema = dataset
  return directory / schema.splits['train'].blocks[-1].file


def _rewrite(dataset, records):
  """Replaces the last block and its checksum -> the schema that fits it."""
  np.save(_last(dataset), records)
  return _replace_block(dataset[1], rows=len(records), crc32=blocks.file_crc32(_last(dataset)))


def test_round_trip(dataset, columns):
  directory, schema = dataset
  split = blocks.open_split(directory, schema, 'train')
  everything = blocks.read_all(split)
  assert everything.keys() == columns.keys()
  for name, column in columns.items():
    assert everything[name].dtype == column.dtype and everything[name].flags.c_contiguous
    np.testing.assert_array_equal(everything[name], column)
  assert schema.splits['train'].positives == tuple(columns['label_BxT'].sum(0).tolist())


@pytest.mark.parametrize(
  'rows', [[0], [999, 0, 999, 500, 127, 128], np.random.default_rng(0).permutation(1000)]
)
def test_take_in_any_order(dataset, columns, rows):
  batch = blocks.take(blocks.open_split(*dataset, 'train'), np.array(rows))
  assert batch['label_BxT'].dtype == np.float32 and batch['ids_BxF'].dtype == np.int32
  for name, column in columns.items():
    np.testing.assert_array_equal(batch[name], column[rows])


def test_only_what_the_data_set_has(tmp_path, write_dataset):
  schema = write_dataset(tmp_path, 10, 4, numeric=False)
  assert [b.rows for b in schema.splits['train'].blocks] == [4, 4, 2]
  batch = blocks.take(blocks.open_split(tmp_path, schema, 'train'), np.arange(10))
  assert set(batch) == {'ids_BxF', 'label_BxT'}


def test_missing_block(dataset):
  _last(dataset).unlink()
  with pytest.raises(ValueError, match=f'{_last(dataset).name}: block is missing'):
    blocks.open_split(*dataset, 'train')


@pytest.mark.parametrize('keep', [0, 60, 1000])
def test_truncated_block(dataset, keep):
  _last(dataset).write_bytes(_last(dataset).read_bytes()[:keep])
  with pytest.raises(ValueError, match=f'{_last(dataset).name}: block is damaged'):
    blocks.open_split(*dataset, 'train', verify=False)


def test_flipped_bit(dataset):
  content = bytearray(_last(dataset).read_bytes())
  content[-1] ^= 1
  _last(dataset).write_bytes(content)
  blocks.open_split(*dataset, 'train', verify=False)
  with pytest.raises(ValueError, match=f'{_last(dataset).name}: block is damaged .its checksum'):
    blocks.open_split(*dataset, 'train')


def test_wrong_size_and_wrong_type(dataset):
  directory, schema = dataset
  with pytest.raises(ValueError, match=f'{_last(dataset).name}: block holds'):
    blocks.open_split(directory, _replace_block(schema, rows=3), 'train')
  np.save(_last(dataset), np.zeros(schema.splits['train'].blocks[-1].rows))
  with pytest.raises(ValueError, match=f'{_last(dataset).name}: block holds .* float64'):
    blocks.open_split(directory, schema, 'train')


def test_split_and_blocks_that_do_not_add_up(dataset):
  schema = _rewrite(dataset, np.load(_last(dataset))[:-1])
  with pytest.raises(
    ValueError, match='schema.json: blocks of .* rows do not make a split of 1000 rows'
  ):
    blocks.open_split(dataset[0], schema, 'train')
  with pytest.raises(ValueError, match="no split 'valid'; the data set has train"):
    blocks.open_split(*dataset, 'valid')


@pytest.mark.parametrize('field,wrong', [(0, -1), (0, 5), (1, 4), (2, 345), (3, 10**6)])
def test_ids_beyond_their_field(dataset, field, wrong):
  records = np.load(_last(dataset))
  records['ids'][70, field] = wrong
  schema = _rewrite(dataset, records)
  name = schema.fields[field].name
  with pytest.raises(
    ValueError, match=f'{_last(dataset).name}: row 70: field {name}: id {wrong} is outside'
  ):
    blocks.open_split(dataset[0], schema, 'train')


def test_labels_beyond_one(dataset):
  records = np.load(_last(dataset))
  records['label'][70, 1] = 2
  with pytest.raises(
    ValueError, match=f'{_last(dataset).name}: row 70: buy: label 2 is not 0 or 1'
  ):
    blocks.open_split(dataset[0], _rewrite(dataset, records), 'train')
