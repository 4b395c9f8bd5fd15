"""Joins an ablation study with its trials: trains the missing ones, reads their logits, writes
table and picture.
"""

import pathlib

import numpy as np

from data_pipelines import blocks
from rec_sparse import config as config_lib
from rec_sparse import record
from rec_sparse import schema as schema_lib
from rec_sparse.report import ablation_chart
from rec_sparse.report import chart
from rec_sparse.report import files
from rec_sparse.runs import evaluation
from rec_sparse.runs import study as study_lib
from rec_sparse.scaling import ablation
from rec_sparse.scaling import outcome
from rec_sparse.scaling import records


def run_ablation(
  data: pathlib.Path,
  schema: schema_lib.FeatureSchema,
  out: pathlib.Path,
  study: ablation.Ablation,
  configs: dict[str, tuple[config_lib.Config, ...]],
) -> list[pathlib.Path] | None:
  """Trains what `out` lacks of the study and prints its table -> the files written;
  None when a signal came first.

  Raises ValueError when `out` holds something else than trials on this data, or damaged ones, and
  when the memory does not hold a trial.
  """
  every = list(dict.fromkeys(config for own in configs.values() for config in own))
  study_lib.check(schema, every)
  _claim(out, schema)  # after what wrong input can stop
  left = study_lib.run_missing(data, schema, out, every)
  if left.interrupted:
    return None
  if left.too_large:
    raise ValueError(
      f'{study.name}: {len(left.too_large)} of {len(every)} trials are missing, '
      f'so there is no table: {study_lib.why_too_large(left)}'
    )
  trials = {
    name: [records.read_trial(study_lib.trial_path(out, c)) for c in own]
    for name, own in configs.items()
  }
  label_NxT, _ = evaluation.labels(blocks.open_split(data, schema, 'test'))
  logits = lambda run_id: _read_logits(out / 'logits' / f'{run_id}.npy', len(label_NxT))[:, 0]
  found = outcome.outcomes(study, trials, logits, label_NxT[:, 0])
  about = {
    'data': str(data),
    'data_fingerprint': schema.fingerprint,
    'test_rows': len(label_NxT),
    'device': trials[study.arms[0].name][0].device,
    'versions': record.versions(),
  }
  table = outcome.to_markdown(found)
  picture = chart.figure_png(ablation_chart.draw_ablation(study.title, found))
  record.write_json(out / f'{study.name}.json', outcome.to_json(study, found) | about)
  files.replace_files(out, {f'{study.name}.md': table.encode(), f'{study.name}.png': picture})
  print(table)
  evaluation.say_undefined(schema, 'valid', 'test')
  return [out / f'{study.name}.{kind}' for kind in ('json', 'md', 'png')]


def _read_logits(path: pathlib.Path, rows: int) -> np.ndarray:
  """logits_NxT of a trial; raises ValueError naming the file when it is damaged."""
  try:
    logits_NxT = np.load(path, allow_pickle=False)
    if logits_NxT.ndim != 2 or len(logits_NxT) != rows:
      raise ValueError(f'an array of shape {logits_NxT.shape} for {rows} rows')
  except (ValueError, EOFError, OSError) as e:
    raise ValueError(
      f'{path}: damaged logits ({e}); delete the file, and its trial runs again'
    ) from None
  return logits_NxT


def _claim(out: pathlib.Path, schema: schema_lib.FeatureSchema) -> None:
  """Marks `out` as a directory of trials on this data."""
  path = out / 'data.json'
  if path.is_file():
    if record.read_json(path) != {'data_fingerprint': schema.fingerprint}:
      raise ValueError(f'--out={out}: holds trials on other data; choose another directory')
  elif out.exists() and any(out.iterdir()):
    raise ValueError(f'--out={out}: is not empty, and not a directory that launch.ablate made')
  out.mkdir(parents=True, exist_ok=True)
  record.write_json(path, {'data_fingerprint': schema.fingerprint})
