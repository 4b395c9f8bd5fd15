"""Does an embedding use its dimensions? Information abundance per field.

Guo et al. 2023, arXiv 2310.04400.
"""

from collections.abc import Sequence

import numpy as np

from rec_sparse.analysis import spectrum


def fields(
  table_RxD: np.ndarray, names: Sequence[str], offsets: Sequence[int], sizes: Sequence[int]
) -> dict[str, dict]:
  """`field` of every field of the stacked table.

  Rows past the last field (padding) are not looked at.
  """
  cut = zip(names, offsets, sizes, strict=True)
  return {name: field(table_RxD[first : first + size]) for name, first, size in cut}


def field(table_RxD: np.ndarray) -> dict:
  """One field's embedding, R rows by D dimensions.

  `abundance` is sum sigma_i / sigma_max, between 1 (one direction only, collapsed) and min(R, D);
  `abundance_share` is its part of that maximum. Tiny fields cannot have much: compare fields by the
  share, models by the same field.
  """
  singular = spectrum.singular_values(table_RxD)
  abundance = spectrum.abundance(singular)
  return {
    'rows': int(table_RxD.shape[0]),
    'abundance': abundance,
    'abundance_share': abundance / min(table_RxD.shape),
    'entropy_rank': spectrum.entropy_rank(singular),
    'singular_values': singular.tolist(),
  }
