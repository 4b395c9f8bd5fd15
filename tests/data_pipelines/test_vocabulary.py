"""Vocabularies: order of ids, the frequency cut, unseen values, counting in chunks."""

import hypothesis
from hypothesis import strategies as st
import numpy as np
import polars as pl
import pytest

from data_pipelines import vocabulary

VALUES = pl.Series(['b', 'a', 'c', 'b', 'a', '', 'd', 'b'])


def _counted(*chunks):
  counts = vocabulary.EMPTY
  for chunk in chunks:
    counts = vocabulary.count(counts, chunk)
  return counts


def test_ids_fall_with_frequency_and_ties_go_by_value():
  table = vocabulary.build(_counted(VALUES), 1)
  assert table.rows() == [
    (None, 0, 0),
    ('b', 1, 3),
    ('a', 2, 2),
    ('', 3, 1),
    ('c', 4, 1),
    ('d', 5, 1),
  ]


def test_frequency_cut():
  table = vocabulary.build(_counted(VALUES), 2)
  assert table.rows() == [(None, 0, 3), ('b', 1, 3), ('a', 2, 2)]
  encode = vocabulary.encoder(table)
  assert encode(pl.Series(['a', 'c', 'new', '', 'b'])).tolist() == [2, 0, 0, 0, 1]


@pytest.mark.parametrize('merge_rows', [0, 3, 100])
def test_chunks_count_as_one(monkeypatch, merge_rows):
  monkeypatch.setattr(vocabulary, '_MERGE_ROWS', merge_rows)
  chunks = [VALUES[i : i + 2] for i in range(0, 8, 2)]
  assert vocabulary.build(_counted(*chunks), 1).equals(vocabulary.build(_counted(VALUES), 1))
  # merged, by twos, never
  assert len(_counted(*chunks).pending) == {0: 1, 3: 2, 100: 4}[merge_rows]


def test_groups_are_dense():
  groups = vocabulary.build_groups(_counted(pl.Series(['z', 'x', 'z']), pl.Series(['y', 'x'])))
  assert groups.rows() == [('x', 0), ('y', 1), ('z', 2)]
  assert vocabulary.encoder(groups)(pl.Series(['z', 'x', 'x'])).tolist() == [2, 0, 0]


def test_digest_is_of_values_ids_fields_and_tasks():
  table = vocabulary.build(_counted(VALUES), 1)
  other_counts = vocabulary.build(_counted(VALUES, VALUES), 1)
  digest = vocabulary.digest(('y',), {'a': vocabulary.meaning(table), 'b': pl.Series(['x', 'yz'])})
  same = {'a': vocabulary.meaning(other_counts[::-1]), 'b': pl.Series(['x', 'yz'])}
  assert vocabulary.digest(('y',), same) == digest and len(digest) == 64
  others = [
    {'a': vocabulary.meaning(table), 'b': pl.Series(['yz', 'x'])},
    {'a': vocabulary.meaning(table), 'b': pl.Series(['xy', 'z'])},
    {'a': vocabulary.meaning(table), 'c': pl.Series(['x', 'yz'])},
    {'b': pl.Series(['x', 'yz']), 'a': vocabulary.meaning(table)},
  ]
  found = {digest, vocabulary.digest(('y', 'z'), same), vocabulary.digest(('z', 'y'), same)}
  assert len(found | {vocabulary.digest(('y',), meanings) for meanings in others}) == 7


TEXTS = st.lists(st.text('ab\0é', max_size=3))


@hypothesis.given(TEXTS, TEXTS, st.integers(1, 3))
@hypothesis.settings(max_examples=50, deadline=None)
def test_ids_are_those_of_a_dictionary(trained, later, min_count):
  table = vocabulary.build(_counted(pl.Series(trained, dtype=pl.String)), min_count)
  id_of = {value: id for value, id, _ in table.rows()}
  encode = vocabulary.encoder(table)
  for values in (trained, later, [None]):
    found = encode(pl.Series('any', values, dtype=pl.String))
    assert found.dtype == np.int32 and found.tolist() == [id_of.get(value, 0) for value in values]


def test_save_and_load(tmp_path):
  table = vocabulary.build(_counted(VALUES), 1)
  vocabulary.save(table, tmp_path, 'a/b c')
  assert [p.name for p in (tmp_path / 'vocab').iterdir()] == ['a%2Fb c.parquet']
  assert vocabulary.load(tmp_path, 'a/b c').equals(table)


def test_damaged_vocabulary(tmp_path):
  with pytest.raises(ValueError, match='item.parquet: vocabulary is missing or damaged'):
    vocabulary.load(tmp_path, 'item')
  vocabulary.save(vocabulary.build(_counted(VALUES), 1), tmp_path, 'item')
  path = vocabulary.vocabulary_path(tmp_path, 'item')
  path.write_bytes(path.read_bytes()[:20])
  with pytest.raises(ValueError, match='item.parquet: vocabulary is missing or damaged'):
    vocabulary.load(tmp_path, 'item')
