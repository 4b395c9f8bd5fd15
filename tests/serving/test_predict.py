"""Raw rows scored by a run and by its artifact, beside what an evaluation says of the same rows."""

import json
import subprocess
import sys

import jax
import numpy as np
import polars as pl
import pytest

from data_pipelines import blocks
from data_pipelines import raw
from data_pipelines import text
from launch import export
from launch import main as main_lib
from launch import predict
import rec_sparse as rs
from rec_sparse.runs import feeds
from rec_sparse.runs import trained as trained_lib
from rec_sparse.serving.loader import network as network_lib

ALONE = """
import csv, json, sys
import loader
network = loader.load('.')
rows = list(csv.DictReader(open(sys.argv[1])))
columns = {name: [row[name] for row in rows] for name in network.fields}
probability_BxT = network.predict(columns)
assert not {'rec_sparse', 'data_pipelines', 'flax', 'polars', 'orbax'} & set(sys.modules)
print(json.dumps(probability_BxT.tolist()))
"""


def call(program, *arguments):
  return main_lib.call(program.main, program.FLAGS, list(arguments))


@pytest.fixture(scope='module', name='expected_ExT')
def _expected_ext(clicks):
  """Probabilities of the encoded test split, by evaluation."""
  trained = trained_lib.restore(clicks / 'run', 'best', None)
  split = blocks.open_split(trained.data, trained.schema, 'test')
  _, logits_ExT = feeds.open_evaluate(trained.program, split)(trained.state)
  return np.asarray(jax.nn.sigmoid(logits_ExT))


@pytest.fixture(scope='module', name='artifact')
def _artifact(clicks):
  out = clicks / 'served'
  assert call(export, f'--run={clicks / "run"}', f'--out={out}', '--latency_calls=1') == 0
  return out


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
  """Several chunks a file, and several batches a chunk or chunks a batch."""
  monkeypatch.setattr(text, 'PIECE_BYTES', 3000)
  monkeypatch.setattr(raw, 'CHUNK_ROWS', 70)
  monkeypatch.setattr(network_lib, 'CPU_BATCH', 64)


def read(path):
  return pl.read_csv(path, schema_overrides=[pl.Float32, pl.Float32])


@pytest.mark.parametrize('by', ['run', 'artifact'])
def test_raw_rows_get_the_probabilities_of_an_evaluation(
  clicks, artifact, expected_ExT, tmp_path, capsys, by
):
  out = tmp_path / 'out.csv'
  given = {'run': clicks / 'run', 'artifact': artifact}[by]
  assert call(predict, f'--{by}={given}', f'--input={clicks}/test.csv', f'--out={out}') == 0
  assert read(out).columns == ['click', 'buy']
  np.testing.assert_allclose(read(out), expected_ExT, atol=1e-6)

  said = json.loads(capsys.readouterr().out.splitlines()[-1])
  schema = rs.open_data(clicks / 'data').schema
  rows = {name: column.unknown['test'] for name, column in schema.columns.items()}
  shares = {name: round(count / 300, 6) for name, count in rows.items() if count}
  assert said['unknown'] == shares and shares['user'] > 0
  assert list(said['unknown'].values()) == sorted(shares.values(), reverse=True)
  assert said['rows'] == 300 and said['rows_per_second'] > 0


def test_no_label_is_needed_and_parquet_is_as_good(clicks, artifact, expected_ExT, tmp_path):
  """Other types, other order of columns, several files, no labels: the same rows in order."""
  frame = pl.read_csv(clicks / 'test.csv').select('user', 'views', 'score', 'kind', 'size', 'price')
  frame[:130].write_parquet(tmp_path / 'a.parquet')
  frame[130:].write_csv(tmp_path / 'b.csv.gz', compression='gzip')
  out = tmp_path / 'out.csv'
  out.write_text('old')
  files = f'{tmp_path}/a.parquet,{tmp_path}/b.csv.gz'
  assert call(predict, f'--artifact={artifact}', f'--input={files}', f'--out={out}') == 0
  np.testing.assert_allclose(read(out), expected_ExT, atol=1e-6)


def test_a_process_without_this_package_scores_an_artifact(clicks, artifact, expected_ExT):
  command = [sys.executable, '-c', ALONE, str(clicks / 'test.csv')]
  done = subprocess.run(
    command,
    cwd=artifact,
    env={'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  np.testing.assert_allclose(json.loads(done.stdout), expected_ExT, atol=1e-6)


def test_a_notebook_scores_raw_rows(clicks, expected_ExT):
  setup, state = rs.restore(clicks / 'run')
  probability_BxT = rs.predict_rows(setup, state, pl.read_csv(clicks / 'test.csv'))
  np.testing.assert_allclose(probability_BxT, expected_ExT, atol=1e-6)
  with pytest.raises(ValueError, match="rows: no column 'user'; there are price"):
    rs.predict_rows(setup, state, {'price': [1.0]})


@pytest.mark.parametrize(
  'arguments, message',
  [
    ([], 'give either --run or --artifact'),
    (['--run=x', '--artifact=y'], 'give either --run or --artifact'),
    (['--artifact={root}/data'], 'artifact.json: not found; is this a directory made by'),
    (['--artifact={root}/served', '--data=d'], '--data: does not apply to --artifact'),
    (['--artifact={root}/served', '--input={root}/none.csv'], 'none.csv: no such file'),
    (['--artifact={root}/served', '--out={root}'], 'is a directory; name a CSV file'),
    (['--artifact={root}/served', '--out={root}/test.csv'], 'test.csv: is a file of --input'),
    (['--artifact={root}/served', '--source=parquet'], 'test.csv: not a parquet file'),
    (['--artifact={root}/served', '--input={root}/bad.csv'], "bad.csv: line 9: price: 'dear' is"),
    (
      ['--artifact={root}/served', '--input={root}/wide.csv'],
      "wide.csv: has one column, 'day~price",
    ),
  ],
)
def test_wrong_input_is_one_sentence_and_writes_nothing(
  clicks, artifact, tmp_path, capsys, arguments, message
):
  del artifact  # is {root}/served
  frame = pl.read_csv(clicks / 'test.csv')
  is_bad = pl.Series(np.arange(300) == 7)
  frame.with_columns(price=frame['price'].cast(pl.String).set(is_bad, 'dear')).write_csv(
    clicks / 'bad.csv'
  )
  frame.write_csv(clicks / 'wide.csv', separator='~')
  usual = [f'--input={clicks}/test.csv', f'--out={tmp_path}/out.csv']
  given = [argument.format(root=clicks) for argument in arguments]
  assert call(predict, *usual, *given) == 1
  assert message in capsys.readouterr().err
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'change, message',
  [
    ({'user': 'u1'}, "user: 'u1' is one value; give a list"),
    ({'price': 4.2}, 'price: 4.2 is one value; give a list'),
    ({'price': [1.0, 2.0]}, 'columns have different lengths: 1, 2'),
    ({'price': ['dear']}, "row 0: price: 'dear' is not a number"),
  ],
)
def test_wrong_columns_are_named_by_the_loader(artifact, change, message):
  network = network_lib.load(artifact)
  columns = dict.fromkeys(network.fields, [None])
  assert network.predict(columns).shape == (1, 2)
  with pytest.raises(ValueError, match=message):
    network.predict(columns | change)
  with pytest.raises(ValueError, match="no column 'kind'; there are user, size"):
    network.predict({name: [None] for name in network.fields if name != 'kind'})


def test_the_latency_is_beside_the_artifact(artifact):
  found = json.loads((artifact / 'latency.json').read_text())
  assert [row['batch'] for row in found['latency']] == [1, 8, 64, 256, 1024]
  assert all(0 < row['median_ms'] <= row['p99_ms'] for row in found['latency'])
