"""Numbers of a column: how texts name them, how training rows are counted, what the counts teach.

Every statistic here is a function of a table of numbers and counts, sorted by number, so it depends
neither on the order of the rows nor on the chunks that they come in.
"""

from typing import NamedTuple

import numpy as np
import polars as pl

from data_pipelines import vocabulary

FLOAT32 = float(np.finfo(np.float32).max)
WHOLE = 2**53  # from here on float64 does not tell whole numbers apart
CELLS = 1 << 18  # different numbers of a column that are told apart; more are counted in cells
# 12e4567 is a code, not a number
_SPELLED = (
  r'^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+|(?i:inf(inity)?))'
  r'([eE][+-]?[0-9]{1,3})?\s*$'
)
_CODE = r'^\s*[+-]?0[0-9]'  # 007: a code written in digits
_FENCE = 5  # spreads between the 10 % and the 90 % quantile


def are_numbers(texts: pl.Series) -> bool:
  """Whether all texts, at least one, are numbers; with leading zeros, such as 007, they are not."""
  if not len(texts) or texts.str.contains(_CODE).any():
    return False
  return bool(spelled(texts).all())


def spelled(texts: pl.Series) -> pl.Series:
  """Which texts are spelled as numbers."""
  return texts.str.contains(_SPELLED)


def canonical(texts: pl.Series) -> pl.Series:
  """One text for each number: 1.0, 1.00 and 1e0 are 1, 2.50 is 2.5; other texts stay."""
  if not texts.str.contains(r'[^0-9-]').any():
    return texts
  plain = texts.str.strip_chars().str.strip_prefix('+')
  number = plain.cast(pl.Float64, strict=False)
  is_float = (plain.str.contains('[.eE]') & number.is_finite()).fill_null(False)
  is_whole = is_float & ((number == number.floor()) & (number.abs() < WHOLE)).fill_null(False)
  whole = number.set(~is_whole, None).cast(pl.Int64).cast(pl.String)
  text = whole.zip_with(is_whole, number.cast(pl.String).zip_with(is_float, plain))
  return text.zip_with(spelled(texts), texts).alias(texts.name)


class Cells(NamedTuple):
  """Counts of numbers. Beyond CELLS different ones, those share a cell that agree but for low bits.

  The least number of a cell stands for it. How many bits are dropped follows from the numbers
  alone; counts stay exact, and a number that many rows have keeps its weight.
  """

  counts: vocabulary.Counts
  dropped: int = 0  # low bits of float64


EMPTY = Cells(vocabulary.Counts(pl.DataFrame(schema={'value': pl.Float64, 'count': pl.UInt64})))


def count(cells: Cells, numbers: pl.Series) -> Cells:
  """Adds one chunk of numbers without nulls."""
  counts = vocabulary.count(cells.counts, floor(numbers, cells.dropped))
  counted = cells._replace(counts=counts)
  return counted if counts.pending else _coarser(counted)


def of_table(table: pl.DataFrame) -> Cells:
  """A table of different numbers and their counts as cells."""
  return _coarser(Cells(vocabulary.Counts(table)))


def total(cells: Cells) -> tuple[pl.DataFrame, int]:
  """(table: value, count, sorted by value; how many low bits its values have lost)."""
  merged = vocabulary.Counts(vocabulary.total(cells.counts))
  found = _coarser(cells._replace(counts=merged))
  return found.counts.merged.sort('value'), found.dropped


def _coarser(cells: Cells) -> Cells:
  """Drops as few bits as it takes; of merged counts."""
  table = cells.counts.merged
  dropped = cells.dropped
  while len(table) > CELLS:
    dropped += 1
    floored = table.select(floor(table['value'], dropped), 'count')
    table = vocabulary.summed(floored)
  return Cells(vocabulary.Counts(table), dropped)


def floor(numbers: pl.Series, dropped: int) -> pl.Series:
  """The largest number not above that lacks the lowest `dropped` bits; keeps the order, -0 is 0."""
  bits_B = (numbers.to_numpy() + 0.0).view(np.int64)
  ordered_B = np.where(bits_B < 0, bits_B ^ np.int64(2**63 - 1), bits_B)  # rises with the number
  floored_B = ordered_B & ~np.int64((1 << dropped) - 1)
  back_B = np.where(floored_B < 0, floored_B ^ np.int64(2**63 - 1), floored_B)
  return pl.Series(numbers.name, back_B.view(np.float64))


def edges(table: pl.DataFrame, buckets: int, dropped: int = 0) -> tuple[float, ...]:
  """Rising edges of about `buckets` buckets of as many rows each; bucket k is [edge k-1, edge k).

  At most `buckets` different numbers have a bucket each. Else a number that fills a bucket has its
  own, and the rows of the others share what is left: a column that is 0 in nine of ten rows keeps
  its other values apart.
  """
  value_W = table['value'].to_numpy()
  count_W = table['count'].to_numpy().astype(np.float64)
  if len(value_W) <= buckets:
    return _between(value_W, np.arange(1, len(value_W)), dropped)

  heavy_W = np.zeros(len(value_W), bool)
  while True:
    share = count_W[~heavy_W].sum() / max(buckets - heavy_W.sum(), 1)
    more_W = ~heavy_W & (count_W >= share)
    if not more_W.any():
      break
    heavy_W |= more_W

  light_W = np.where(heavy_W, 0, count_W)
  middle_W = np.cumsum(light_W) - light_W / 2
  quantile_W = np.floor(middle_W / share) if share else light_W
  starts_W = heavy_W[1:] | heavy_W[:-1] | (quantile_W[1:] != quantile_W[:-1])
  return _between(value_W, np.flatnonzero(starts_W) + 1, dropped)


def _between(value_W: np.ndarray, first_J: np.ndarray, dropped: int) -> tuple[float, ...]:
  """Edges halfway between each value of `first_J` and the one below it, in (below, value]."""
  below_J = value_W[first_J - 1]
  above_J = value_W[first_J]
  middle_J = floor(pl.Series(below_J / 2 + above_J / 2), dropped).to_numpy()
  inside_J = (middle_J > below_J) & (middle_J <= above_J)
  return tuple(np.where(inside_J, middle_J, above_J).tolist())


def bucket(numbers: pl.Series, edges: tuple[float, ...]) -> pl.Series:
  """The bucket of each number, counted from 0, as text; '' where there is no number."""
  bucket_B = np.searchsorted(np.array(edges), numbers.fill_null(0).to_numpy(), side='right')
  return pl.Series(numbers.name, bucket_B).cast(pl.String).set(numbers.is_null(), '')


class Scale(NamedTuple):
  """value -> (value within [low, high] - mean) / deviation."""

  low: float
  high: float
  mean: float
  deviation: float


def scale(table: pl.DataFrame) -> Scale:
  """Mean and deviation of the training rows, once values far outside are moved to the fences.

  A fence lies five times the spread between the 10 % and the 90 % quantile beyond these:
  further than any row of ordinary columns, and near enough that a sentinel such as -999999999 in
  few rows leaves the others apart. Where the two quantiles are equal there are no fences.
  """
  value_W = table['value'].to_numpy()
  count_W = table['count'].to_numpy().astype(np.float64)
  if not len(value_W):
    return Scale(-FLOAT32, FLOAT32, 0.0, 1.0)

  share_W = np.cumsum(count_W) / count_W.sum()
  least, most = value_W[np.searchsorted(share_W, [0.1, 0.9])].tolist()
  beyond = _FENCE * (most - least) or 2 * FLOAT32
  low = max(least - beyond, -FLOAT32)
  high = min(most + beyond, FLOAT32)

  clipped_W = value_W.clip(low, high)
  mean = float(np.average(clipped_W, weights=count_W))
  deviation = float(np.sqrt(np.average((clipped_W - mean) ** 2, weights=count_W)))
  return Scale(low, high, mean, deviation or 1.0)


def scaled(numbers: pl.Series, by: Scale) -> np.ndarray:
  """Float32; 0, which is the mean, where there is no number."""
  value_B = (numbers.clip(by.low, by.high) - by.mean) / by.deviation
  return value_B.fill_null(0).to_numpy().astype(np.float32)


def log_square(numbers: pl.Series) -> pl.Series:
  """The bucket of the Criteo protocols as text; '' where there is no number.

  It is the integer part of ln(x)^2 above 2, else of x.
  """
  square = pl.when(numbers > 2).then(numbers.clip(lower_bound=1).log() ** 2).otherwise(numbers)
  text = square.clip(-WHOLE, WHOLE).cast(pl.Int64).cast(pl.String).fill_null('')
  return pl.select(text.alias(numbers.name)).to_series()
