"""The commands that made a study, and what its trials have in common."""

import shlex

from rec_sparse.scaling.records import AXES
from rec_sparse.scaling.records import Study

KNOBS = {*AXES, 'options'}


def commands(study: Study, delta: float) -> str:
  """Shell lines: each sweep as it was given, then the report."""
  report = shlex.join(
    ['python', '-m', 'launch.report', f'--study={study.directory}', f'--delta={delta:g}']
  )
  return '\n'.join([*study.settings['commands'], report])


def shared_config(study: Study) -> dict[str, object]:
  """Config fields, knobs aside, on which every recorded trial agrees."""
  configs = [t.config for t in study.trials]
  return {
    k: v
    for k, v in (configs[0] if configs else {}).items()
    if k not in KNOBS and all(c.get(k) == v for c in configs)
  }
