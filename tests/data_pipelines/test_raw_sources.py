"""libfm.py, delimited.py and parquet.py: what is read, in bounded pieces, and what is refused."""

import bz2
import gzip
import lzma
import os

import polars as pl
import pytest

from data_pipelines import damage
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
    'label': ['0', '1', '0', '1'],
    'field_0': ['3', '4', '3', '5'],
    'field_1': ['10', '11', '12', '10'],
  }


def test_libfm_without_a_last_newline_and_with_names(tmp_path):
  path = _write(tmp_path / 'log', LIBFM[:-1])
  reader = libfm.reader(('y', 'user', 'item'))
  assert list(reader.columns(path)) == ['y', 'user', 'item']
  assert _frame(reader, path)['item'].to_list() == ['10', '11', '12', '10']


@pytest.mark.parametrize(
  'line,message',
  [
    ('1 3:1', 'line 5: 2 columns, expected 3'),
    ('1 3:1 4:1 5:1', 'line 5: 4 columns, expected 3'),
    ('', 'line 5: 1 columns, expected 3'),
    ('1 3:1 x:1', "line 5: field_1: 'x:1' is not an integer id with value 1"),
    ('1 3:2 4:1', "line 5: field_0: '3:2' is not an integer id with value 1"),
    ('1 3:0.5 4:1', "line 5: field_0: '3:0.5'"),
    ('1 -3:1 4:1', "line 5: field_0: '-3:1'"),
    ('1 3 4:1', "line 5: field_0: '3' is not"),
  ],
)
@pytest.mark.parametrize('piece', [20, 1 << 20])
def test_libfm_names_the_bad_line(tmp_path, monkeypatch, piece, line, message):
  monkeypatch.setattr(text, 'PIECE_BYTES', piece)
  path = _write(tmp_path / 'log', LIBFM + line + '\n' + LIBFM)
  assert f'{path}: {message}' in _refused(libfm.reader(None), path)


def test_libfm_first_line(tmp_path):
  assert 'line 1: expected `label id:1' in _refused(
    libfm.reader(None), _write(tmp_path / 'log', 'hello\n')
  )
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
  assert f'{path}: compressed file is damaged' in _refused(libfm.reader(None), str(path))
  path.write_bytes(LIBFM.encode() + b'1 3:1 \xff\xfe:1\n')
  assert _refused(libfm.reader(None), str(path)) == f'{path}: line 5: not UTF-8 text'


def _zstd(path, content):
  """A zstd file by polars, of lines that a csv of one column may hold as they are."""
  lines = content.removesuffix('\n').split('\n')
  frame = pl.LazyFrame({'line': lines})
  frame.sink_csv(path, compression='zstd', include_header=False, quote_style='never')


@pytest.mark.parametrize('kind', ['gz', 'bz2', 'xz', 'zst'])
def test_compressed_text(tmp_path, monkeypatch, kind):
  monkeypatch.setattr(text, 'PIECE_BYTES', 5)
  monkeypatch.setattr(raw, 'CHUNK_ROWS', 2)
  path = tmp_path / f'log.tsv.{kind}'
  compress = {'gz': gzip.compress, 'bz2': bz2.compress, 'xz': lzma.compress}
  lines = 'y\ta\n1\tx\n0\té\n1\tz\n'
  if kind == 'zst':
    _zstd(path, lines)
  else:
    path.write_bytes(compress[kind](lines.encode()))
  frame = _frame(delimited.reader(None, None), str(path))
  assert frame.to_dict(as_series=False) == {'y': ['1', '0', '1'], 'a': ['x', 'é', 'z']}
  path.write_bytes(path.read_bytes()[:-6])
  error = _refused(delimited.reader(None, None), str(path))
  assert f'{path}: compressed file is damaged or cut short' in error


@pytest.mark.parametrize(
  'content, message',
  [
    (b'PK\x03\x04 and so on', 'this is a zip archive; unpack it first'),
    (b'PAR1 and so on', 'this is a parquet file; read it with --source=parquet'),
    (CSV.encode('utf-16'), 'this is UTF-16 text; convert it to UTF-8 first'),
    (gzip.compress(CSV.encode('utf-16'), mtime=0), 'this is UTF-16 text'),
    (CSV.encode('utf-16-be'), 'this is a binary file or UTF-16 text'),
    (b'y,a\r1,2\r', 'line 1: a carriage return before the end of the line'),
    (b'y,a\r\n1,2\r\n1,"x\ry"\r\n', 'line 3: a carriage return before the end of the line'),
  ],
)
def test_what_is_no_text_is_named(tmp_path, content, message):
  path = tmp_path / 'log.csv'
  path.write_bytes(content)
  assert f'{path}: {message}' in _refused(delimited.reader(None, None), str(path))


@pytest.mark.parametrize('piece', [3, 1 << 20])
@pytest.mark.parametrize('end', ['', '\n', '\n\n', '\r\n\r\n\n'])
def test_blank_lines_at_the_end_are_no_rows(tmp_path, monkeypatch, piece, end):
  monkeypatch.setattr(text, 'PIECE_BYTES', piece)
  lines = list(text.read_lines(_write(tmp_path / 'log', 'a\n\nb' + end)))
  numbered = [(first + i, line) for first, part in lines for i, line in enumerate(part)]
  assert numbered == [(1, 'a'), (2, ''), (3, 'b')]


@pytest.mark.parametrize('zipped', [False, True])
@pytest.mark.parametrize('piece', [8, 1 << 20])
def test_csv_with_quotes(tmp_path, monkeypatch, zipped, piece):
  monkeypatch.setattr(text, 'PIECE_BYTES', piece)
  path = _write(tmp_path / 'log.csv', '\ufeff' + CSV, zipped)
  frame = _frame(delimited.reader(None, None), path)
  assert frame.to_dict(as_series=False) == {
    'click': ['1', '0'],
    'site': ['a', ''],
    'note': ['x, "y"', 'z'],
  }


@pytest.mark.parametrize(
  'name,delimiter', [('log.tsv', None), ('log.txt.gz', None), ('log.csv', '\t')]
)
def test_tabs_have_no_quotes(tmp_path, name, delimiter):
  path = _write(tmp_path / name, 'y\tq\n1\t"a,b\n')
  assert _frame(delimited.reader(None, delimiter), path)['q'].to_list() == ['"a,b']


@pytest.mark.parametrize('delimiter', [',', ';', '|', ' '])
def test_quotes_hold_what_delimits(tmp_path, delimiter):
  rows = [
    ['y', 'title'],
    ['1', f'Salt{delimiter} and sea'],
    ['0', 'x' * 200_000],
    ['1', 'five" by ""'],
  ]
  lines = [delimiter.join('"' + value.replace('"', '""') + '"' for value in row) for row in rows]
  path = _write(tmp_path / 'log.csv', '\n'.join([*lines, f'0{delimiter}7"']))
  frame = _frame(delimited.reader(None, delimiter), path)
  assert frame.rows() == [tuple(row) for row in [*rows[1:], ['0', '7"']]]
  if delimiter != ' ':
    assert _frame(delimited.reader(None, None), path).equals(frame)


@pytest.mark.parametrize(
  'name, line, delimiter',
  [
    ('a.csv', 'y,a;b', ','),
    ('a.csv', 'y\ta', '\t'),
    ('a.csv', '"y, z";a', ';'),
    ('a.txt.zst', 'y,a', ','),
    ('a.tsv.gz', 'y\ta,b', '\t'),
    ('a.csv', 'y', ','),
    ('a.v1.txt', 'y', '\t'),
    ('a.csv', 'y;a|b', ','),
  ],
)
def test_the_delimiter_is_the_usual_one_or_the_only_one(name, line, delimiter):
  assert delimited._guess(name, line) == delimiter


def test_several_characters_may_delimit(tmp_path):
  path = _write(tmp_path / 'log.dat', 'y::a\n1::"x"\n')
  assert _frame(delimited.reader(None, '::'), path).rows() == [('1', '"x"')]


def test_names_for_a_file_without_header(tmp_path):
  frame = _frame(delimited.reader(('y', 'a'), ','), _write(tmp_path / 'log', '1,7\n0,8\n'))
  assert frame.to_dict(as_series=False) == {'y': ['1', '0'], 'a': ['7', '8']}


@pytest.mark.parametrize(
  'content,message',
  [
    ('a,b\n1,2\n3\n', 'line 3: 1 columns, expected 2'),
    ('a,b\n1,2,3\n', 'line 2: 3 columns, expected 2'),
    ('a,b\n1,2\n"3",4,5\n', 'line 3: 3 columns, expected 2'),
    ('a,b\n1,2\n\n"3",4\n', 'line 3: 1 columns, expected 2'),
    ('a,b\n1,"x\ny"\n', 'line 2: a quote is not closed'),
    ('a,b\n1,2\n1,"x', 'line 3: a quote is not closed'),
    ('a,b\n1","x\n2,y\n', 'line 2: a quote is not closed'),
    ('"a,b\n1,2\n', 'line 1: a quote is not closed'),
    ('a\tb\tc\n1\t2\n', 'line 2: 2 columns, expected 3; were empty fields cut off its end?'),
    ('a,a\n1,2\n', "line 1: column 'a' appears twice"),
    ('a,b\n', 'no rows after the header'),
  ],
)
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


@pytest.mark.parametrize(
  'content', [b'', b'nonsense', b'PAR1' + bytes(8) + b'PAR1', b'PAR1\xff\xff\xff\x7fPAR1']
)
def test_parquet_whose_end_is_damaged(tmp_path, capfd, content):
  path = tmp_path / 'log.parquet'
  path.write_bytes(content)
  assert f'{path}: not a parquet file, or a damaged one (' in _refused(parquet.reader(), str(path))
  assert capfd.readouterr() == ('', '')


def test_a_panic_is_a_sentence(capfd):
  with pytest.raises(ValueError, match='log: damaged .a bound'), damage.named('log', 'damaged'):
    os.write(2, b'thread panicked')
    raise pl.exceptions.PanicException('a bound')
  os.write(2, b'heard again')
  assert capfd.readouterr().err == 'heard again'


def test_globs_and_directories_are_sorted_and_markers_skipped(tmp_path, capsys):
  for name in ('c', 'a', '_SUCCESS', '.a.crc', '_committed_1', 'a.crc'):
    (tmp_path / name).touch()
  (tmp_path / '_delta_log').mkdir()
  a, c = str(tmp_path / 'a'), str(tmp_path / 'c')
  assert raw.expand([f'{tmp_path}/[ac]', c], 'train') == [a, c, c]
  assert capsys.readouterr().out == ''
  assert raw.expand([str(tmp_path)], 'valid') == [a, c]
  assert '--valid: skipped markers: ' in capsys.readouterr().out
  assert raw.expand([f'{tmp_path}*'], 'valid') == [a, c]  # a glob of directories
  marker = f'{tmp_path}/_SUCCESS'
  assert raw.expand([marker], 'valid') == [marker]  # named, so wanted


@pytest.mark.parametrize(
  'pattern, message',
  [
    ('nothing-*', 'no such file'),
    ('empty', 'holds no file of rows'),
    ('nested', 'day=1 is a directory too'),
  ],
)
def test_what_holds_no_files_is_named(tmp_path, pattern, message):
  for name in ('empty', 'nested/day=1'):
    (tmp_path / name).mkdir(parents=True)
  (tmp_path / 'empty' / '_SUCCESS').touch()
  with pytest.raises(ValueError, match=message) as error:
    raw.expand([f'{tmp_path}/{pattern}'], 'valid')
  assert str(error.value).startswith(f'--valid={tmp_path}/{pattern}: ')
