"""Raw rows that are only to be scored: of the features alone, whatever else their files hold."""

from collections.abc import Iterator
import dataclasses

from data_pipelines import columns as columns_lib
from data_pipelines import delimited
from data_pipelines import prepare
from data_pipelines import raw
from data_pipelines import spec as spec_lib

_PARQUET = b'PAR1'  # first bytes of a file


def read(
  files: list[str], spec: spec_lib.Spec, source: str | None, made_from: str, flag: str
) -> Iterator[columns_lib.Columns]:
  """The clean columns of all rows, in order, in bounded chunks.

  `spec` is settled, of a data set that was made from the source `made_from`. `source` is one of
  `prepare.READERS`; None: as each file looks, libfm where the data set was made of that. Files
  without rows are skipped with a note that names `flag`. Raises ValueError naming file, line or row
  and column: at once for a column that is not there, later for a value that cannot be read.
  """
  features = spec_lib.of_features(spec)
  readers = {}
  empty = {}
  for path in files:
    try:
      reader = _reader(path, spec, source or _source(path, made_from))
      columns = reader.columns(path)
    except raw.Empty as e:
      empty[path] = e
      continue
    _check(path, columns, features)
    readers[path] = reader

  if not readers:
    raise empty[files[0]]
  raw.note_skipped(list(empty), flag, 'files without rows')
  return _rows([path for path in files if path in readers], readers, features)


def _rows(
  files: list[str], readers: dict[str, raw.Reader], features: spec_lib.Spec
) -> Iterator[columns_lib.Columns]:
  for path in files:
    for chunk in readers[path].chunks(path):
      yield columns_lib.clean(chunk, features)


def _check(path: str, columns: tuple[str, ...], features: spec_lib.Spec) -> None:
  if len(columns) == 1 < len(features.categorical) + len(features.numeric):
    raise ValueError(
      f'{path}: has one column, {columns[0]!r}; is it delimited as the files of the data set were?'
    )
  spec_lib.check_columns(features, columns, path)


def _source(path: str, made_from: str) -> str:
  """What a file looks like."""
  with open(path, 'rb') as file:
    if file.read(len(_PARQUET)) == _PARQUET or path.endswith('.parquet'):
      return 'parquet'
  return 'libfm' if made_from == 'libfm' else 'csv'


def _reader(path: str, spec: spec_lib.Spec, source: str) -> raw.Reader:
  """The reader of a file; of one without header the lines may lack the labels."""
  if source == 'csv' and spec.columns:
    bare = tuple(name for name in spec.columns if name not in spec.label)
    if delimited.width(path, spec.delimiter) == len(bare):
      spec = dataclasses.replace(spec, columns=bare)
  return prepare.READERS[source](spec)
