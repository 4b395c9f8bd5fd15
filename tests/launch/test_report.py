"""launch.report from end to end, on studies made up from a known law."""

import csv
import html.parser
import json
import os
import pathlib
import re
import subprocess
import sys
import warnings

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / 'scaling'))
import fake_study  # pylint: disable=g-import-not-at-top

from launch import main as main_lib
from launch import report
from rec_sparse.report import files

ARMS = {
  'dense_mlp': fake_study.plateau(),
  'ssr_s': fake_study.power_law(),
  'ssr_d': fake_study.power_law(A=0.05),
}
FILES = {'report.html', 'saturation.svg', 'saturation.png', 'curves.csv', 'verdicts.json'}
VOID = {'meta', 'br', 'hr', 'img', 'link', 'input'}


class Page(html.parser.HTMLParser):
  """Checks that tags nest, and keeps text, tags and attributes."""

  def __init__(self, text: str):
    super().__init__()
    self.open, self.text, self.attributes, self.tags = [], [], [], []
    self.feed(text)
    self.close()
    assert not self.open, f'not closed: {self.open}'

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.attributes += attrs
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags.append(tag)
    self.attributes += attrs

  def handle_endtag(self, tag):
    assert self.open and self.open.pop() == tag, f'</{tag}> closes nothing'

  def handle_data(self, data):
    self.text.append(data)


def run(directory, *flags):
  return main_lib.call(report.main, report.FLAGS, [f'--study={directory}', *flags])


def page_of(directory):
  return Page((directory / 'report.html').read_text(encoding='utf-8'))


@pytest.fixture(scope='module')
def study(tmp_path_factory):
  directory = fake_study.write_study(tmp_path_factory.mktemp('r') / 'study', ARMS, depths=(2, 3))
  assert run(directory) in (0, None)
  return directory


def test_writes_the_five_files_and_nothing_else(study):
  assert {p.name for p in study.iterdir()} == FILES | {'study.json', 'trials'}


def test_page_is_whole_and_fetches_nothing(study):
  text = (study / 'report.html').read_text(encoding='utf-8')
  page = Page(text)
  assert 'http' not in text and '//' not in re.sub(
    r'\s', '', ''.join(v or '' for _, v in page.attributes)
  )
  assert not {'script', 'link', 'iframe', 'img', 'object'} & set(page.tags)
  assert '$' not in ''.join(page.text)
  for needed in ('prefers-color-scheme: dark', 'var(--ink)', 'Saturation chart'):
    assert needed in text


def test_page_says_what_an_engineer_asks(study):
  text = ' '.join(page_of(study).text)
  for needed in (
    'ssr_s keeps scaling',
    'non-zero dense parameters',
    'python -m launch.sweep',
    'irreducible',
    'delta = 0.0001',
    'Few seeds (3)',
    'w512 d3',
    'efficient frontier',
    'fingerprint',
  ):
    assert needed in text


def test_files_say_the_same(study):
  verdicts = json.loads((study / 'verdicts.json').read_text())
  rows = list(csv.DictReader((study / 'curves.csv').read_text().splitlines()))
  assert list(verdicts) == list(ARMS) and len(rows) == 3 * 12
  assert {row['arm'] for row in rows} == set(ARMS)
  assert (
    verdicts['ssr_d']['verdict'] == 'scaling' and verdicts['ssr_d']['slope_interval'][1] < -1e-4
  )


def test_running_again_prints_the_same_path_and_writes_the_same_bytes(study, capsys):
  before = {name: (study / name).read_bytes() for name in FILES}
  run(study)
  assert before == {name: (study / name).read_bytes() for name in FILES}
  lines = capsys.readouterr().out.splitlines()
  assert lines[-1] == str(study / 'report.html')
  assert [line.split()[0] for line in lines[2:5]] == list(ARMS)
  assert re.search(r'ssr_s +scaling +-0\.0', lines[3])


def test_delta_is_a_flag(tmp_path):
  directory = fake_study.write_study(tmp_path / 's', ARMS, widths=(16, 32, 64))
  run(directory, '--delta=0.5')
  found = json.loads((directory / 'verdicts.json').read_text())
  assert 'delta is 0.5, not the registered 0.0001' in ' '.join(page_of(directory).text)
  assert {v['delta'] for v in found.values()} == {0.5} and 'scaling' not in {
    v['verdict'] for v in found.values()
  }


@pytest.mark.parametrize(
  'arms, kwargs',
  [
    (1, {}),
    (3, {'widths': (16,)}),
    (3, {'seeds': 1}),
    (1, {'widths': (16,), 'seeds': 1, 'learning_rates': (0.003,)}),
    (2, {'widths': (16, 32), 'depths': (1, 2, 3), 'teacher': None}),
  ],
  ids=['one arm', 'one size', 'one seed', 'one of all', 'no teacher'],
)
def test_small_studies(tmp_path, arms, kwargs):
  truths = dict(list(ARMS.items())[:arms])
  directory = fake_study.write_study(tmp_path / 's', truths, **{'widths': (16, 32, 64)} | kwargs)
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    run(directory)
  page_of(directory)
  assert len(json.loads((directory / 'verdicts.json').read_text())) == arms


def test_unfinished_study(tmp_path):
  directory = fake_study.write_study(tmp_path / 's', ARMS, widths=(16, 32, 64))
  fake_study.edit_trials(directory, lambda r: None if r['arm'] == 'ssr_d' or r['seed'] == 2 else r)
  run(directory)
  text = ' '.join(page_of(directory).text)
  assert 'The study is unfinished: 36 of 81' in text and 'ssr_d: no trial finished' in text
  assert json.loads((directory / 'verdicts.json').read_text())['ssr_d']['verdict'] == 'undetermined'


def test_nothing_recorded_yet(tmp_path):
  directory = fake_study.write_study(tmp_path / 's', ARMS, widths=(16,))
  fake_study.edit_trials(directory, lambda r: None)
  run(directory)
  assert '0 of 27 trials recorded' in ' '.join(page_of(directory).text)


def test_only_failed_trials_are_listed_with_their_errors(tmp_path):
  directory = fake_study.write_study(tmp_path / 's', ARMS, widths=(16, 32), seeds=1)
  fake_study.edit_trials(
    directory, lambda r: fake_study.fail(r, error='XLA: <out of memory> & "more"')
  )
  run(directory)
  page = page_of(directory)
  assert page.text.count('XLA: <out of memory> & "more"') == 18
  assert {v['verdict'] for v in json.loads((directory / 'verdicts.json').read_text()).values()} == {
    'undetermined'
  }


def test_text_from_files_is_escaped(tmp_path):
  arms = {'<script>alert(1)</script>': fake_study.power_law(), 'a&b"$x': fake_study.plateau()}
  directory = fake_study.write_study(tmp_path / 's', arms, widths=(16, 32, 64))
  run(directory)
  page = page_of(directory)
  assert 'script' not in page.tags and '<script>alert(1)</script>' in page.text


def test_a_failed_write_keeps_the_last_report(tmp_path, monkeypatch):
  directory = fake_study.write_study(tmp_path / 's', ARMS, widths=(16, 32))
  run(directory)
  before = {p.name: p.stat().st_mtime_ns for p in directory.iterdir()}

  def full(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'replace', full)
  with pytest.raises(ValueError, match='the report cannot be written .No space left on device'):
    files.replace_files(directory, {'report.html': b'new', 'curves.csv': b'new'})
  assert before == {p.name: p.stat().st_mtime_ns for p in directory.iterdir()}


@pytest.mark.parametrize(
  'prepare, message',
  [
    (lambda d: d / 'nowhere', 'study.json: not found'),
    (
      lambda d: (
        fake_study.edit_trials(
          d, lambda r: r | {'config': r['config'] | {'batch_size': r['width']}}
        ),
        d,
      )[1],
      'trials of dense_mlp differ in batch_size',
    ),
    (
      lambda d: (next((d / 'trials').iterdir()).write_text('{"run_id": '), d)[1],
      r'trials/\w+.json: line 1: not JSON',
    ),
  ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, capsys, prepare, message):
  directory = prepare(fake_study.write_study(tmp_path / 's', ARMS, widths=(16, 32), seeds=1))
  assert run(directory) == 1
  error = capsys.readouterr().err
  assert error.startswith('error: ') and re.search(message, error) and error.count('\n') == 1
  assert not FILES & {p.name for p in (tmp_path / 's').iterdir()}


@pytest.mark.parametrize('delta', ['0', '-1', 'nan', 'inf'])
def test_delta_must_be_a_gain(study, capsys, delta):
  assert run(study, f'--delta={delta}') == 1
  assert f'--delta={float(delta)}: expected a number above 0' in capsys.readouterr().err


def test_program_from_the_shell(tmp_path):
  directory = fake_study.write_study(tmp_path / 's', ARMS, widths=(16, 32, 64), seeds=2)
  root = pathlib.Path(report.__file__).parents[1]
  done = subprocess.run(
    [sys.executable, '-W', 'error', '-m', 'launch.report', f'--study={directory}'],
    cwd=root,
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout.splitlines()[-1] == str(directory / 'report.html')
  done = subprocess.run(
    [sys.executable, '-m', 'launch.report', f'--study={tmp_path}'],
    cwd=root,
    capture_output=True,
    text=True,
  )
  assert (
    done.returncode == 1 and done.stderr.startswith('error: ') and 'Traceback' not in done.stderr
  )
