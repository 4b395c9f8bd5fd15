"""How a program ends that is cut outside of what it can save."""

import os
import signal

from absl import app
from absl import flags

from launch import main as main_lib


def test_sigterm_ends_a_program_as_ctrl_c_does_with_one_sentence(monkeypatch, capsys, tmp_path):
  half_written = tmp_path / 'half'

  def program():
    try:
      half_written.touch()
      os.kill(os.getpid(), signal.SIGTERM)
      signal.pause()
    finally:
      half_written.unlink()

  statuses = []
  monkeypatch.setattr(app, 'run', lambda main: statuses.append(main(['program'])))
  previous = signal.getsignal(signal.SIGTERM)
  try:
    main_lib.run(program, flags.FlagValues())
  finally:
    signal.signal(signal.SIGTERM, previous)
  assert statuses == [main_lib.INTERRUPTED] and not half_written.exists()
  assert capsys.readouterr().err == 'interrupted; run the same command again\n'
