"""launch.bench at tiny sizes: every bench runs, its figures have their names, and what is wrong is
said.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines import blocks
from launch import bench
from launch import main as main_lib
from launch.benches import figure
from launch.benches import peer
from launch.benches import peer_rows
from launch.benches import timing
from rec_sparse import schema as schema_lib

CONTRACT = {
  'step': {
    'step_over_dense',
    'step_20m_over_20k',
    'step_20m_over_1m',
    'step_examples_per_s',
    'step_compile_s',
    'step_temp_mb',
    'copy_gb_per_s',
    'product_gflop_per_s',
    'ssr_s_examples_per_s',
  },
  'masks': {
    'masks_dense_ms',
    'masks_rigl_between',
    'masks_rigl_change',
    'masks_table_dsl_between',
    'masks_table_dsl_change',
  },
  'compact': {'compact_64x16_dense_ms', 'compact_64x16_units_0.1', 'compact_64x16_of_16_0.1'},
  'lookup': {
    'lookup_share_of_copy',
    'duplicates_scratch_speedup',
    'lookup_all_to_all_over_reduce_scatter',
  },
  'filter': {'filter_speedup', 'filter_over_product', 'filter_speedup_with_fuse'},
  'ics': {'ics_speedup', 'ics_plain_temp_mb'},
  'feed': {'feed_rows_per_s'},
  'vectorised': {'vectorised8', 'vectorised8_over_one'},
  'models': {'deepfm_over_dense', 'ssr_s_step_ms'},
  'accelerator': {
    'table_adam_sort_ms',
    'table_sgd_sort_over_scratch',
    'dcn_v2_examples_per_s',
    'ssr_s_bfloat16_examples_per_s',
  },
}
WORKER = """
import json, sys
print('a line of log')
print(json.dumps({'format': sys.argv[2]}), flush=True)
for line in sys.stdin:
  request = json.loads(line)
  if request['name'] == 'bad': sys.exit('no such network')
  print(json.dumps({'seconds': 1.0 if sys.argv[2] == 'npz' else 2.0, 'examples': 100}), flush=True)
"""


def run(out, *arguments):
  return main_lib.call(bench.main, bench.FLAGS, [f'--out={out}', '--scale=tiny', *arguments])


@pytest.mark.parametrize('what', CONTRACT)
def test_a_bench_writes_its_figures(tmp_path, capsys, what):
  out = tmp_path / 'new' / 'bench.json'
  assert run(out, f'--what={what}') == 0
  found = json.loads(out.read_text())
  assert {'device', 'versions', 'figures', 'command'} <= found.keys() and found['failed'] == {}
  assert CONTRACT[what] <= found['figures'].keys()
  assert all(
    isinstance(value, float) and np.isfinite(value) and value >= 0
    for value in found['figures'].values()
  )
  assert all(
    low <= found['figures'][name] <= high for name, (low, high) in found['quartiles'].items()
  )
  assert found['versions']['jax'] == jax.__version__ and f'--what={what}' in found['command']


def test_an_unknown_bench_is_named_before_anything_runs(tmp_path, capsys):
  assert run(tmp_path / 'bench.json', '--what=step,stop') == 1
  assert '--what=stop: expected one of step, masks' in capsys.readouterr().err
  assert not (tmp_path / 'bench.json').exists()


@pytest.mark.parametrize(
  'name, message',
  [
    ('', 'expected the name of a file'),
    ('directory', 'expected the name of a file'),
    ('file/bench.json', 'cannot be written ('),
  ],
)
def test_a_place_that_cannot_be_written_is_named_before_anything_runs(
  tmp_path, capsys, monkeypatch, name, message
):
  (tmp_path / 'directory').mkdir()
  (tmp_path / 'file').write_text('')
  monkeypatch.setattr(bench, '_figures', lambda what: pytest.fail('was measured'))
  assert run(name and tmp_path / name, '--what=ics') == 1
  assert f'--out={name and tmp_path / name}: {message}' in capsys.readouterr().err
  assert sorted(path.name for path in tmp_path.iterdir()) == ['directory', 'file']


def test_what_may_be_repeated_and_separated_by_commas():
  assert bench._chosen(['ics,step', 'feed']) == ['step', 'ics', 'feed']
  assert bench._chosen(['feed', 'all']) == list(bench.ALL)
  assert bench._chosen(['accelerator', 'step']) == ['step', 'accelerator']


def test_a_failed_bench_leaves_the_others_figures_and_a_bad_exit_status(
  toy, tmp_path, capsys, monkeypatch
):
  monkeypatch.setattr(peer, 'install', lambda environment: 1 / 0)
  out = tmp_path / 'bench.json'
  assert run(out, '--what=peer,feed', f'--peer_data={toy}') == 1
  found = json.loads(out.read_text())
  assert 'feed_rows_per_s' in found['figures'] and 'ZeroDivisionError' in found['failed']['peer']
  assert 'error: --what=peer' in capsys.readouterr().err


def test_missing_data_of_the_peer_are_named_before_anything_runs(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(bench, '_figures', lambda what: pytest.fail('was measured'))
  assert run(tmp_path / 'bench.json', '--what=all', f'--peer_data={tmp_path}') == 1
  assert f'--peer_data={tmp_path}: {tmp_path}/schema.json: not found' in capsys.readouterr().err
  assert not list(tmp_path.iterdir())


def test_repeated_work_is_done_each_time_in_the_memory_of_the_last_results():
  x_NxN = jnp.arange(16.0).reshape(4, 4)
  done = []
  call, compiled = timing.repeated(
    lambda x_NxN: jax.debug.callback(lambda: done.append(1)) or x_NxN @ x_NxN, 3, x_NxN
  )
  (kept_NxN,), result_NxN = call()
  np.testing.assert_array_equal(kept_NxN, x_NxN)
  np.testing.assert_array_equal(result_NxN, x_NxN @ x_NxN)
  jax.effects_barrier()
  assert len(done) == 3
  assert compiled.call.memory_analysis().alias_size_in_bytes == 2 * x_NxN.nbytes


def test_repeated_work_stays_inside_its_loop():
  x_NxN = jnp.arange(16.0).reshape(4, 4)
  text = timing.repeated(lambda x_NxN: x_NxN @ x_NxN, 3, x_NxN)[1].call.as_text()
  assert ' dot(' in text and ' dot(' not in text[text.index('ENTRY') :]


def test_ratios_are_taken_round_by_round():
  found = figure.ratio('a_over_b', [1.0, 20.0, 3.0], [2.0, 40.0, 1.0], 'a / b')
  assert found.value == 0.5 and found.quartiles == (0.5, 1.75)
  assert timing.median({'a': [1.0, 20.0, 3.0]}, 'a') == 3.0


def test_the_peer_reads_the_same_rows(toy, tmp_path):
  schema = schema_lib.load_schema(toy)
  split = blocks.open_split(toy, schema, 'train')
  peer_rows.write(split, schema, 10, tmp_path)
  columns = np.load(tmp_path / 'train.npz')
  features = json.loads((tmp_path / 'feature_map.json').read_text())['features']
  own = blocks.read_all(split)
  for i, offset in enumerate(schema.offsets):
    np.testing.assert_array_equal(columns[f'f{i}'] + offset, own['ids_BxF'][:, i])
    assert columns[f'f{i}'].max() < features[i][f'f{i}']['vocab_size']
  np.testing.assert_array_equal(columns['label'], own['label_BxT'][:, 0])


def test_the_two_programs_take_turns_and_the_faster_loader_is_chosen(toy, tmp_path):
  schema = schema_lib.load_schema(toy)
  split = blocks.open_split(toy, schema, 'train')
  (tmp_path / 'worker.py').write_text(WORKER)
  command = [sys.executable, str(tmp_path / 'worker.py'), 'directory']
  found = {made.name: made for made in peer.alternate(peer.TINY, schema, split, command)}
  assert found['peer_mlp_theirs'].value == 100 and 'npz' in found['peer_mlp'].meaning
  assert found['peer_small'].value > 0
  with pytest.raises(ValueError, match='said: no such network'):
    with peer.worker([*command, 'npz', '1']) as ask:
      ask({'name': 'bad'})


def test_a_peer_that_cannot_be_installed_says_so(tmp_path, monkeypatch):
  (tmp_path / 'requirements.txt').write_text('./missing\n')
  monkeypatch.setattr(peer, 'REQUIREMENTS', tmp_path / 'requirements.txt')
  monkeypatch.setattr(sys, 'executable', '/bin/false')
  with pytest.raises(ValueError, match='could not install FuxiCTR in --peer_env'):
    peer.install(tmp_path / 'environment')
