"""The page tells how to make the study again."""

import fake_study

from rec_sparse.report import reproduce
from rec_sparse.scaling import records


def read(tmp_path):
  directory = fake_study.write_study(
    tmp_path / 'a study', {'dense_mlp': fake_study.power_law()}, widths=(16, 32), seeds=3
  )
  return records.read_results(directory)[0]


def test_every_sweep_as_given_then_the_report(tmp_path):
  study = read(tmp_path)
  assert reproduce.commands(study, 2e-4).splitlines() == [
    *study.about.commands,
    f"python -m launch.report '--study={tmp_path / 'a study'}' --delta=0.0002",
  ]


def test_shared_config_leaves_the_knobs_out(tmp_path):
  study = read(tmp_path)
  fake_study.edit_trials(
    study.directory,
    lambda record: (
      record | {'config': {'batch_size': 1024, 'seed': record['seed'], 'width': record['width']}}
    ),
  )
  shared = reproduce.shared_config(records.read_results(study.directory)[0])
  assert shared['batch_size'] == 1024 and not reproduce.turned(study) & set(shared)
