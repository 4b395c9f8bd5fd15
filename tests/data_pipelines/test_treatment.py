"""What becomes of a column: the kinds that lost what they said, and the sentences about them."""

import numpy as np
import polars as pl
import pytest

from data_pipelines import numbers
from data_pipelines import treatment

RNG = np.random.default_rng(0)


def _seen(texts):
  return treatment.see(treatment.TEXTS, pl.Series(list(map(str, texts)), dtype=pl.String))


def _is_numeric(texts, listed=False):
  return treatment.is_numeric(_seen(texts), listed, buckets=64)


def _notes(texts, mode='categorical'):
  return treatment.make(_seen(texts), mode, 1, 64).column.notes


AMOUNTS = [f'{a}.0' for a in RNG.integers(0, 10**7, 3000)]
IDS = [f'{1000 + i}.0' for i in RNG.integers(0, 400, 3000)]


@pytest.mark.parametrize(
  'texts, numeric',
  [
    (['1.0', '2.0', '3.0'] * 9, False),  # few whole values
    (IDS, False),
    ([*IDS, ''], False),  # ids of which many rows agree
    (AMOUNTS, True),  # whole quantities
    (['0.5', '1', '2'], True),
    (['0', '2.5', '1', '3', '4'], True),
    (['1e-3', '7'], True),
    (['1', '2', '30'], False),
    (list(map(str, range(3000))), False),  # integers stay ids
    (['0.5', 'x'], False),
    (['', ''], False),
    (['1.10', '01.2'], False),
    (['0.5', ''], True),
    ([*['0.5'] * 9, 'inf'], True),  # refused by line when it is read
  ],
)
def test_what_decides(texts, numeric):
  assert _is_numeric(texts) == numeric
  assert treatment.is_numeric(treatment.as_numbers(_seen(['1.5'])), False, 64)


def test_a_spec_that_lists_its_ids_has_no_others():
  assert _is_numeric(IDS, listed=True) and not _is_numeric(['1', '2'], listed=True)


@pytest.mark.parametrize(
  'texts', [['0', '2.5', '1', '3', '4'], ['0.1', '0.2', '-0.1'], ['1e30', '-1e30', '0.5']]
)
def test_few_different_values_have_a_row_each(texts):
  made = treatment.make(_seen([*texts, '', '']), 'quantile', 1, 64)
  number = pl.Series(texts).cast(pl.Float64)
  assert numbers.bucket(number, made.column.edges).n_unique() == len(texts)
  assert len(made.vocabulary) == len(texts) + 2
  assert (made.column.missing, made.column.distinct) == (2, len(texts))
  assert (made.column.least, made.column.most) == (number.min(), number.max())


def test_rare_buckets_obey_min_count():
  made = treatment.make(_seen(['0.5'] * 5 + ['7.5']), 'quantile', 2, 64)
  assert made.vocabulary.rows() == [(None, 0, 1), ('0', 1, 5)]


def test_one_value_one_id():
  made = treatment.make(_seen(['1', '1.0', '1.00', '1e0', '2', '', '2.50']), 'categorical', 1, 64)
  assert made.column.numbers and made.column.distinct == 3
  assert made.vocabulary['value'].to_list() == [None, '1', '', '2', '2.5']
  words = treatment.make(_seen(['1', '1.0', 'x']), 'categorical', 1, 64)
  assert not words.column.numbers and words.column.distinct == 3  # versions, not numbers


@pytest.mark.parametrize(
  'texts, note',
  [
    (['7'] * 4, 'constant'),
    ([''] * 4, 'constant'),
    (['a', 'b', 'c'], 'another value in every training row'),
    (['1508198400', '1508198460', '1508198460'], 'times in unix seconds'),
    (['1508198400000', '1508198460999', '1508198400000'], 'times in unix milliseconds'),
    (['2017-10-01', '2017-10-02', '2017-10-02'], 'dates or times'),
    (['2017-10-01 23:59:00.5', '2017-10-02T00:00:00Z', '2017-10-02T00:00:00Z'], 'dates or times'),
    ([*['1.5'] * 20, 'unknown'], "texts such as 'unknown' mean missing"),
    (['1.5', '1.5', '2.5'], 'not whole'),
  ],
)
def test_notes_of_ids(texts, note):
  found = _notes(texts)
  assert len(found) == 1 and note in found[0]


@pytest.mark.parametrize(
  'texts',
  [['a', 'b', 'a'], ['1', '2', '1'], ['', 'a'], ['1', '1508198400', '1'], ['1.5.1', 'b', 'b']],
)
def test_nothing_to_note(texts):
  assert _notes(texts) == ()


def test_notes_of_numbers():
  guessed = treatment.make(_seen(AMOUNTS), 'quantile', 1, 64, inferred=True).column.notes
  assert 'few recur' in guessed[0]
  assert not _notes(AMOUNTS, 'quantile') and not _notes(['0.5', '1.5'], 'quantile')
  assert 'read as that' in _notes([*map(str, range(99)), '-1e9'], 'value')[0]
  assert not _notes(list(range(99)), 'value') and 'constant' in _notes(['0.5'], 'value')[0]


def test_meaning_is_what_encodes():
  made = [
    treatment.make(_seen(texts), mode, 1, 64)
    for texts, mode in (
      (['0', '0.5'], 'quantile'),
      (['0', '0.7'], 'quantile'),
      (['0', '0.5'], 'value'),
      (['0', '0.7'], 'value'),
      (['0', '0.7', ''], 'value'),
      (['0', '0.5'], 'log_square'),
      (['0', '1'], 'categorical'),
    )
  ]
  assert len({tuple(treatment.meaning(m)) for m in made}) == len(made)
  longer = treatment.make(_seen(['0', '0.5', '0.5', '0']), 'quantile', 1, 64)
  assert treatment.meaning(longer).equals(treatment.meaning(made[0]))


def test_too_many_different_numbers(monkeypatch):
  """In cells: the same of counted texts as of counted numbers, and zero keeps its weight."""
  monkeypatch.setattr(numbers, 'CELLS', 100)
  values = [0.0] * 500 + RNG.normal(size=1000).tolist()
  of_texts = treatment.make(_seen(values), 'quantile', 1, 16)
  numeric = treatment.NUMBERS
  for start in range(0, len(values), 300):
    numeric = treatment.see(numeric, pl.Series(values[start : start + 300]))
  of_numbers = treatment.make(numeric, 'quantile', 1, 16)
  assert of_numbers.column == of_texts.column and of_numbers.vocabulary.equals(of_texts.vocabulary)
  assert not of_numbers.column.exact and of_numbers.column.distinct <= 100
  rows = of_numbers.vocabulary['count'].to_list()
  assert sum(rows) == 1500 and rows[1] == 500 and len(rows) >= 16
