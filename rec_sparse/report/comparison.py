"""The table and the picture of the arms of one size, made in memory."""

import json

import numpy as np

from rec_sparse.report import ablation_chart
from rec_sparse.report import chart
from rec_sparse.report import published
from rec_sparse.scaling import outcome
from rec_sparse.scaling import records
from rec_sparse.scaling import row_error


def make_table(results: records.Results) -> dict[str, bytes]:
  """`<study>.json`, `<study>.png` and `<study>.md` of a study whose trials all have a record.

  Where an arm has a published AUC, also `<study>_published.csv` and `.md`.
  Raises ValueError naming the file of logits that is missing or damaged.
  """
  study = results.study
  trials = {arm.name: [t for t in results.trials if t.arm == arm.name] for arm in study.singles}
  folder = results.directory / 'logits'
  label_ExT = row_error.read_array(folder / 'labels.npy')

  def logits(run_id: str) -> np.ndarray:
    return row_error.read_array(folder / f'{run_id}.npy', len(label_ExT))

  found = outcome.outcomes(study, trials, logits, label_ExT)
  about = {
    'data': results.about.data,
    'data_fingerprint': results.about.data_fingerprint,
    'test_rows': len(label_ExT),
    'device': results.trials[0].device,
    'versions': results.trials[0].versions,
  }
  numbers = json.dumps(outcome.to_json(study, found) | about, indent=1, allow_nan=False) + '\n'
  picture = ablation_chart.draw_ablation(study.title, found)
  beside = {}
  if any(arm.published_auc is not None for arm in study.singles):
    beside[f'{study.name}_published.csv'] = published.to_csv(found).encode()
    beside[f'{study.name}_published.md'] = published.to_markdown(found).encode()
  return beside | {
    f'{study.name}.json': numbers.encode(),
    f'{study.name}.png': chart.figure_png(picture),
    f'{study.name}.md': outcome.to_markdown(found).encode(),
  }
