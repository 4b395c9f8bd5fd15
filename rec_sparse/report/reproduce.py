"""The commands that made a study, and what its trials have in common."""

import shlex

from rec_sparse.scaling.records import KNOBS
from rec_sparse.scaling.records import Results


def commands(results: Results, delta: float) -> str:
  """Shell lines: each sweep as it was given, then the report."""
  report = shlex.join(
    ['python', '-m', 'launch.report', f'--study={results.directory}', f'--delta={delta:g}']
  )
  return '\n'.join([*results.about.commands, report])


def turned(results: Results) -> set[str]:
  """Config fields that tell the trials of the study apart by intent."""
  axes = {axis for arm in results.study.arms for axis in arm.scale}
  return {'model', 'options', 'seed', 'learning_rate', *KNOBS, *axes}


def shared_config(results: Results) -> dict[str, object]:
  """Config fields, those turned aside, on which every recorded trial agrees."""
  configs = [t.config for t in results.trials]
  skipped = turned(results)
  return {
    k: v
    for k, v in (configs[0] if configs else {}).items()
    if k not in skipped and all(c.get(k) == v for c in configs)
  }
