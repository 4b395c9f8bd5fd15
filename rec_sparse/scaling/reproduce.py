"""The commands that make a study again, from `study.json` and from what its trials have in common."""

from collections.abc import Mapping
import dataclasses
import json
import shlex

from rec_sparse import config as config_lib
from rec_sparse.scaling.records import Study

KNOBS = {'model', 'options', 'width', 'depth', 'views', 'seed', 'learning_rate'}  # config fields that a sweep may turn
SWEEP_FLAGS = ('batch_size', 'embedding_dim', 'patience')  # flags of launch.sweep of their own; others go through --set


def commands(study: Study, delta: float) -> str:
  """Shell lines for launch.sweep and launch.report; settings that keep their default are left out."""
  flags = {'data': study.data, 'out': study.directory}
  flags |= {key: _joined(study.settings[key]) for key in ('arms', 'widths', 'depths', 'views', 'learning_rates')}
  counted = study.seeds == tuple(range(len(study.seeds)))  # to launch.sweep one number is a count of seeds
  flags |= {'seeds': len(study.seeds) if counted else _joined(study.seeds), 'epochs': study.epochs}
  changed = _changed(study)
  flags |= {key: changed.pop(key) for key in SWEEP_FLAGS if key in changed}
  words = [f'--{key}={value}' for key, value in flags.items()] + [f'--set={k}={v}' for k, v in changed.items()]
  sweep = ' \\\n  '.join(['python -m launch.sweep', *map(shlex.quote, words)])
  return f'{sweep}\npython -m launch.report {shlex.quote(f"--study={study.directory}")} --delta={delta:g}'


def shared_config(study: Study) -> dict[str, object]:
  """Config fields, knobs aside, on which every recorded trial agrees."""
  configs = [t.config for t in study.trials]
  return {k: v for k, v in (configs[0] if configs else {}).items()
          if k not in KNOBS and all(c.get(k) == v for c in configs)}


def _changed(study: Study) -> dict[str, str]:
  """Settings that are not the default, as text for the command line; those of one model alone included."""
  defaults = dataclasses.asdict(config_lib.Config())
  found = {k: v for k, v in shared_config(study).items()
           if k in defaults and k not in ('data_fingerprint', 'epochs') and v != defaults[k]}
  for trial in study.trials:
    kind = config_lib.MODEL_OPTIONS.get(trial.arm)
    own = json.loads(json.dumps(dataclasses.asdict(kind()))) if kind else {}
    options = trial.config.get('options')
    found |= {k: v for k, v in (options if isinstance(options, Mapping) else {}).items() if k in own and v != own[k]}
  return {k: _joined(v) if isinstance(v, list) else str(v) for k, v in found.items()}


def _joined(values: object) -> str:
  return ','.join(f'{v:g}' if isinstance(v, float) else str(v) for v in values)
