"""launch.planted from its flags to its file."""

from launch import main as main_lib
from launch import planted


def test_tables_are_written_or_the_place_is_refused(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(planted, 'SEEDS', (2,))
  out = tmp_path / 'planted.md'
  assert main_lib.call(planted.main, planted.FLAGS, [f'--out={out}', '--studies=10']) == 0
  text = out.read_text()
  assert 'Verdicts of 10 planted studies' in text and text.count('| power law |') == 6
  assert text.count('| plateau over the last four rungs | uneven |') == 3

  wrong = tmp_path / 'nowhere' / 'planted.md'
  assert main_lib.call(planted.main, planted.FLAGS, [f'--out={wrong}', '--studies=10']) == 1
  assert f'error: --out={wrong}: expected a file' in capsys.readouterr().err
