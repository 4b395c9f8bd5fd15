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
  r'^\s*[+-]?(\d+\.?\d*|\.\d+|(?i:inf(inity)?))'
  r'([eE][+-]?\d{1,3})?\s*$'
)
_CODE = r'^\s*[+-]?0\d'  # 007: a code written in digits
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
  value_V = table['value'].to_numpy()
  count_V = table['count'].to_numpy().astype(np.float64)
  if len(value_V) <= buckets:
    return _between(value_V, np.arange(1, len(value_V)), dropped)

  heavy_V = np.zeros(len(value_V), bool)
  while True:
    share = count_V[~heavy_V].sum() / max(buckets - heavy_V.sum(), 1)
    more_V = ~heavy_V & (count_V >= share)
    if not more_V.any():
      break
    heavy_V |= more_V

  light_V = np.where(heavy_V, 0, count_V)
  middle_V = np.cumsum(light_V) - light_V / 2
  quantile_V = np.floor(middle_V / share) if share else light_V
  starts_V = heavy_V[1:] | heavy_V[:-1] | (quantile_V[1:] != quantile_V[:-1])
  return _between(value_V, np.flatnonzero(starts_V) + 1, dropped)


def _between(value_V: np.ndarray, first_E: np.ndarray, dropped: int) -> tuple[float, ...]:
  """Edges halfway between each value of `first_E` and the one below it, in (below, value]."""
  below_E = value_V[first_E - 1]
  above_E = value_V[first_E]
  middle_E = floor(pl.Series(below_E / 2 + above_E / 2), dropped).to_numpy()
  inside_E = (middle_E > below_E) & (middle_E <= above_E)
  return tuple(np.where(inside_E, middle_E, above_E).tolist())


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
  value_V = table['value'].to_numpy()
  count_V = table['count'].to_numpy().astype(np.float64)
  if not len(value_V):
    return Scale(-FLOAT32, FLOAT32, 0.0, 1.0)

  share_V = np.cumsum(count_V) / count_V.sum()
  least, most = value_V[np.searchsorted(share_V, [0.1, 0.9])].tolist()
  beyond = _FENCE * (most - least) or 2 * FLOAT32
  low = max(least - beyond, -FLOAT32)
  high = min(most + beyond, FLOAT32)

  clipped_V = value_V.clip(low, high)
  mean = float(np.average(clipped_V, weights=count_V))
  deviation = float(np.sqrt(np.average((clipped_V - mean) ** 2, weights=count_V)))
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
