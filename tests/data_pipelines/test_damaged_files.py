"""Whatever happens to the bytes of a log, prepare makes a data set or one sentence."""

import bz2
import gzip
import lzma
import random

import polars as pl
import pytest

from data_pipelines import prepare

MUTATIONS = 60  # of each kind; 20,000 of all were tried once
ROWS = [(i % 2, f'u{i % 7}', i / 4) for i in range(40)]
FRAME = pl.DataFrame(ROWS, schema=['label', 'user', 'price'], orient='row')
CSV = ('label,user,price\r\n' + ''.join(f'{y},"{u}, ""x""",{p}\n' for y, u, p in ROWS)).encode()
LIBFM = ''.join(f'{i % 2} {i % 7}:1 {i}:1\n' for i in range(40)).encode()
PIECES = (
  b'"',
  b'\r',
  b'\n',
  b'\r\n',
  b',',
  b'\t',
  b'\0',
  b'\xff\xfe',
  b'-1',
  b'1e999',
  b'\xef\xbb\xbf',
  b'PAR1',
  b'',
)


def _parquet(path):
  FRAME.write_parquet(path, row_group_size=15)
  return path.read_bytes()


def _zstd(path):
  FRAME.lazy().sink_csv(path, compression='zstd', check_extension=False)
  return path.read_bytes()


def mutated(content: bytes, rng: random.Random) -> bytes:
  """One to four of: bits flipped, bytes random, cut out, doubled, or replaced by PIECES."""
  for _ in range(rng.randint(1, 4)):
    start = rng.randrange(len(content) + 1)
    stop = min(len(content), start + rng.choice((0, 1, 2, 8, 100)))
    middle = content[start:stop]
    middle = rng.choice(
      (
        bytes(byte ^ 1 << rng.randrange(8) for byte in middle),
        rng.randbytes(len(middle)),
        b'',
        middle * 2,
        rng.choice(PIECES),
        rng.choice(PIECES) * rng.choice((1, 200)),
      )
    )
    content = content[:start] + middle + content[stop:]
  return content


@pytest.mark.parametrize(
  'source, make',
  [
    ('csv', lambda path: CSV),
    ('libfm', lambda path: LIBFM),
    ('csv', lambda path: gzip.compress(CSV)),
    ('csv', lambda path: bz2.compress(CSV)),
    ('csv', lambda path: lzma.compress(CSV)),
    ('csv', _zstd),
    ('parquet', _parquet),
  ],
  ids=['csv', 'libfm', 'gzip', 'bz2', 'xz', 'zstd', 'parquet'],
)
def test_a_damaged_file_is_read_or_refused(tmp_path, capfd, source, make):
  rng = random.Random(f'{source} 0')
  path = tmp_path / 'log'
  out = tmp_path / 'out'
  content = make(path)
  refused = 0
  for number in range(MUTATIONS):
    path.write_bytes(mutated(content, rng))
    try:
      prepare.prepare(prepare.Job(source, {'train': [str(path)]}), out / str(number))
    except (ValueError, OSError) as e:
      refused += 1
      assert '\n' not in str(e)
  assert refused > MUTATIONS / 4
  assert 'panicked' not in capfd.readouterr().err
