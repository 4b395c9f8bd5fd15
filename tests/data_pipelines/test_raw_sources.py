"""libfm.py, delimited.py and parquet.py: what is read, in bounded pieces, and what is refused."""

import gzip

import polars as pl
import pytest

from data_pipelines import delimited
from data_pipelines import libfm
from data_pipelines import parquet
from data_pipelines import raw
from data_pipelines import text

LIBFM = '-1 3:1 10:1\n1 4:1 11:1\n0 3:1.0 12:1 \n+1 5:1 10:1\n'
CSV = 'click,site,note\r\n1,a,"x, ""y"""\r\n0,,z\r\n'


def _write(path, content, zipped=False):
  path.write_bytes(gzip.compress(content.encode()) if zipped else content.encode())
  return str(path)


def _frame(reader, path):
  return pl.concat([chunk.frame for chunk in reader.chunks(path)])


def _refused(reader, path):
  with pytest.raises(ValueError) as error:
    reader.columns(path)
    list(reader.chunks(path))
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize('zipped', [False, True])
@pytest.mark.parametrize('piece', [5, 1 << 20])
def test_libfm(tmp_path, monkeypatch, zipped, piece):
  monkeypatch.setattr(text, 'PIECE_BYTES', piece)
  frame = _frame(libfm.reader(None), _write(tmp_path / 'log', LIBFM, zipped))
  assert frame.to_dict(as_series=False) == {
      'label': ['0', '1', '0', '1'], 'field_0': ['3', '4', '3', '5'], 'field_1': ['10', '11', '12', '10']}


def test_libfm_without_a_last_newline_and_with_names(tmp_path):
  path = _write(tmp_path / 'log', LIBFM[:-1])
  reader = libfm.reader(('y', 'user', 'item'))
  assert list(reader.columns(path)) == ['y', 'user', 'item']
  assert _frame(reader, path)['item'].to_list() == ['10', '11', '12', '10']


@pytest.mark.parametrize('line,message', [
    ('1 3:1', 'line 5: 2 columns, expected 3'),
    ('1 3:1 4:1 5:1', 'line 5: 4 columns, expected 3'),
    ('', 'line 5: 1 columns, expected 3'),
    ('1 3:1 x:1', "line 5: field_1: 'x:1' is not an integer id with value 1"),
    ('1 3:2 4:1', "line 5: field_0: '3:2' is not an integer id with value 1"),
    ('1 3:0.5 4:1', "line 5: field_0: '3:0.5'"),
    ('1 -3:1 4:1', "line 5: field_0: '-3:1'"),
    ('1 3 4:1', "line 5: field_0: '3' is not"),
])
@pytest.mark.parametrize('piece', [20, 1 << 20])
def test_libfm_names_the_bad_line(tmp_path, monkeypatch, piece, line, message):
  monkeypatch.setattr(text, 'PIECE_BYTES', piece)
  path = _write(tmp_path / 'log', LIBFM + line + '\n' + LIBFM)
  assert f'{path}: {message}' in _refused(libfm.reader(None), path)


def test_libfm_first_line(tmp_path):
  assert 'line 1: expected `label id:1' in _refused(libfm.reader(None), _write(tmp_path / 'log', 'hello\n'))
  error = _refused(libfm.reader(('y', 'user')), _write(tmp_path / 'log', LIBFM))
  assert 'line 1: 3 columns, the spec names 2' in error


@pytest.mark.parametrize('content,zipped', [('', False), ('', True)])
@pytest.mark.parametrize('reader', [libfm.reader(None), delimited.reader(None, None)])
def test_empty_text_file(tmp_path, reader, content, zipped):
  path = _write(tmp_path / 'log', content, zipped)
  assert _refused(reader, path) == f'{path}: file is empty'


def test_damaged_text(tmp_path):
  path = tmp_path / 'log.gz'
  path.write_bytes(gzip.compress((LIBFM * 500).encode())[:-20])
  assert f'{path}: gzip file is damaged' in _refused(libfm.reader(None), str(path))
  path.write_bytes(LIBFM.encode() + b'1 3:1 \xff\xfe:1\n')
  assert _refused(libfm.reader(None), str(path)) == f'{path}: line 5: not UTF-8 text'


@pytest.mark.parametrize('zipped', [False, True])
@pytest.mark.parametrize('piece', [8, 1 << 20])
def test_csv_with_quotes(tmp_path, monkeypatch, zipped, piece):
  monkeypatch.setattr(text, 'PIECE_BYTES', piece)
  path = _write(tmp_path / 'log.csv', '\ufeff' + CSV, zipped)
  frame = _frame(delimited.reader(None, None), path)
  assert frame.to_dict(as_series=False) == {'click': ['1', '0'], 'site': ['a', ''], 'note': ['x, "y"', 'z']}


@pytest.mark.parametrize('name,delimiter', [('log.tsv', None), ('log.txt.gz', None), ('log.csv', '\t')])
def test_tabs_have_no_quotes(tmp_path, name, delimiter):
  path = _write(tmp_path / name, 'y\tq\n1\t"a,b\n')
  assert _frame(delimited.reader(None, delimiter), path)['q'].to_list() == ['"a,b']


def test_names_for_a_file_without_header(tmp_path):
  frame = _frame(delimited.reader(('y', 'a'), ','), _write(tmp_path / 'log', '1,7\n0,8\n'))
  assert frame.to_dict(as_series=False) == {'y': ['1', '0'], 'a': ['7', '8']}


@pytest.mark.parametrize('content,message', [
    ('a,b\n1,2\n3\n', 'line 3: 1 columns, expected 2'),
    ('a,b\n1,2,3\n', 'line 2: 3 columns, expected 2'),
    ('a,b\n1,2\n"3",4,5\n', 'line 3: 3 columns, expected 2'),
    ('a,b\n1,2\n\n"3",4\n', 'line 3: 0 columns, expected 2'),
    ('a,b\n1,"x\ny"\n', 'line 2: a quote is not closed'),
    ('a,a\n1,2\n', "line 1: column 'a' appears twice"),
    ('a,b\n', 'no rows after the header'),
])
def test_csv_names_the_bad_line(tmp_path, content, message):
  path = _write(tmp_path / 'log.csv', content)
  assert f'{path}: {message}' in _refused(delimited.reader(None, None), path)


def test_parquet_in_chunks(tmp_path, monkeypatch):
  monkeypatch.setattr(raw, 'CHUNK_ROWS', 100)
  path = str(tmp_path / 'log.parquet')
  frame = pl.DataFrame({'y': [0, 1] * 500, 'x': [0.5] * 1000, 's': [f'v{i}' for i in range(1000)]})
  frame.write_parquet(path, row_group_size=300)
  assert parquet.reader().columns(path) == ('y', 'x', 's')
  chunks = list(parquet.reader().chunks(path))
  assert len(chunks) >= 10 and max(len(chunk.frame) for chunk in chunks) <= 100
  assert pl.concat([chunk.frame for chunk in chunks]).equals(frame)
  assert chunks[3].place(2) == f'{path}: row {sum(len(c.frame) for c in chunks[:3]) + 2}'


def test_parquet_that_is_none(tmp_path):
  path = tmp_path / 'log.parquet'
  pl.DataFrame({'y': [1], 'x': [2]}).clear().write_parquet(path)
  assert _refused(parquet.reader(), str(path)) == f'{path}: file has no rows'
  path.write_bytes(b'nonsense')
  assert f'{path}: not a parquet file' in _refused(parquet.reader(), str(path))
  path.write_bytes(b'')
  assert f'{path}: not a parquet file' in _refused(parquet.reader(), str(path))


def test_parquet_damaged_inside(tmp_path):
  path = tmp_path / 'log.parquet'
  pl.DataFrame({'y': range(10_000)}).write_parquet(path, compression='zstd')
  content = bytearray(path.read_bytes())
  content[50:1500] = bytes(1450)
  path.write_bytes(content)
  assert f'{path}: parquet file is damaged' in _refused(parquet.reader(), str(path))


def test_globs_are_sorted_and_must_match(tmp_path):
  for name in 'cab':
    (tmp_path / f'part-{name}').touch()
  found = raw.expand([f'{tmp_path}/part-*', f'{tmp_path}/part-c'], 'train')
  assert [path[-1] for path in found] == ['a', 'b', 'c', 'c']
  with pytest.raises(ValueError, match='--valid=.*nothing-.: no such file'):
    raw.expand([f'{tmp_path}/nothing-*'], 'valid')
