"""Rows whose useful, redundant and useless fields are known: what a search has to find."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rec_sparse.search import afe
from rec_sparse.search import buckets
from rec_sparse.search import counts

STRONG = ('strong_1', 'strong_2')
COPIES = ('copy_1', 'copy_2', 'near_copy')  # of the first, renamed; of the second, 5 % of it wrong
PAIR = ('pair_1', 'pair_2')
NOISE = ('noise_of_many_values', 'noise_of_few_values')


class Rows(NamedTuple):
  """A data set in memory."""

  fields: dict[str, np.ndarray]  # name -> value of each row, from 1 on
  label_BxT: np.ndarray


class Verdict(NamedTuple):
  """What a choice of fields got right."""

  one_of_each: bool  # a strong field stays once, as itself or as a copy
  no_noise: bool
  pair: bool  # both of the pair
  weak: bool  # the weak field, which tells little, but what no other tells


def rows(
  seed: int, rows: int, noise_values: int = 100_000, tasks: int = 1, pure: bool = False
) -> Rows:
  """Labels by a logit of two strong fields, a pair that interacts, and a weak field.

  The first of the pair also tells something alone, unless it is `pure`. A second task shares the
  strong fields, and has one of its own.
  """
  rng = np.random.default_rng(seed)
  strong_1, strong_2, own = rng.integers(0, 10, (3, rows))
  pair_1, pair_2 = rng.integers(0, 4, (2, rows))
  weak = rng.integers(0, 5, rows)
  alike = np.where((pair_1 + pair_2) % 2 == 0, 1.0, -1.0)
  alone = 0.0 if pure else 0.15 * (pair_1 - 1.5)
  shared = 0.8 * np.sin(strong_1) + 0.6 * np.cos(2 * strong_2)
  logits = [shared + alone + 0.7 * alike + 0.12 * (weak - 2) - 1]
  fields = {
    'strong_1': strong_1,
    'copy_1': (7 * strong_1 + 3) % 10,
    'copy_2': (3 * strong_1 + 5) % 10,
    'strong_2': strong_2,
    'near_copy': np.where(rng.random(rows) < 0.05, rng.integers(0, 10, rows), strong_2),
    'pair_1': pair_1,
    'pair_2': pair_2,
    'weak': weak,
    'noise_of_many_values': rng.integers(0, noise_values, rows),
    'noise_of_few_values': rng.integers(0, 10, rows),
  }
  if tasks == 2:
    logits.append(shared + 0.5 * np.cos(own) - 1)
    fields['of_second'] = own
  chance_BxT = 1 / (1 + np.exp(-np.stack(logits, 1)))
  label_BxT = (rng.random(chance_BxT.shape) < chance_BxT).astype(np.int64)
  return Rows({name: 1 + value for name, value in fields.items()}, label_BxT)


def verdict(kept: Sequence[str]) -> Verdict:
  """What the fields `kept` got right."""
  groups = ({'strong_1', 'copy_1', 'copy_2'}, {'strong_2', 'near_copy'})
  return Verdict(
    one_of_each=all(len(group & set(kept)) == 1 for group in groups),
    no_noise=not set(NOISE) & set(kept),
    pair=set(PAIR) <= set(kept),
    weak='weak' in kept,
  )


class Counted(NamedTuple):
  """What `afe.steps` asks for."""

  tables: list[np.ndarray]  # table_WxY of each field
  pairs: afe.Pairs


def counted(rows: Rows, halves: int = 1, chunk: int = 1 << 16) -> Counted:
  """Counts of the rows, taken in chunks as from a data set on disk."""
  labels = halves << rows.label_BxT.shape[1]
  label_B = counts.joint_label(rows.label_BxT, 0, halves)
  code_FxB = [buckets.of_counts(np.bincount(value_B))[value_B] for value_B in rows.fields.values()]
  sizes = [int(code_B.max()) + 1 for code_B in code_FxB]

  def source() -> Iterator[counts.Rows]:
    for start in range(0, len(label_B), chunk):
      own = slice(start, start + chunk)
      yield counts.Rows([code_B[own] for code_B in code_FxB], label_B[own])

  def pairs(given: int, candidates: Sequence[int]) -> Iterator[np.ndarray]:
    return counts.pairs(source, given, candidates, sizes, labels, counts.on_host)

  tables = []
  for code_B, size in zip(code_FxB, sizes, strict=True):
    cell_B = code_B.astype(np.int64) * labels + label_B
    tables.append(np.bincount(cell_B, minlength=size * labels).reshape(size, labels))
  return Counted(tables, pairs)


def kept(rows: Rows, steps: Sequence[afe.Step]) -> list[str]:
  """The fields that a search keeps: not redundant, and J surely above 0, or what it starts from."""
  names = list(rows.fields)
  return [
    names[step.field] for step in steps if step.forced or (step.redundant_to < 0 and step.j.low > 0)
  ]
