"""What curves of density say, of one run or over seeds; and how they are kept between programs."""

from collections.abc import Sequence
import pathlib
from typing import Any

import numpy as np

from rec_sparse import config as config_lib
from rec_sparse import record
from rec_sparse import whole_file
from rec_sparse.runs import run_directory
from rec_sparse.runs.density import Curves
from rec_sparse.runs.density import Measured
from rec_sparse.runs.density import Point
from rec_sparse.runs.density import SMALL
from rec_sparse.scaling import paired_rows


def summary(runs: Sequence[Curves]) -> dict[str, Any]:
  """Means over runs that differ in seed alone, as JSON, and differences to the dense network.

  Intervals (95 %, over seeds and test rows) are those of paired differences, see
  scaling/paired_rows.py; of one run there are none. Raises ValueError where test rows or curves
  are not the same.
  """
  first = runs[0]
  for other in runs[1:]:
    if not np.array_equal(other.label_ExT, first.label_ExT) or _shape(other) != _shape(first):
      raise ValueError(
        'density: the runs were not measured on the same test rows, or in the same way'
      )
  return {
    'seeds': len(runs),
    'weights': first.weights,
    'dense_params': first.dense_params,
    'retrain_steps': first.retrain_steps,
    'dense': _means([own.dense for own in runs]),
    'untrained': _means([own.untrained for own in runs]),
    'curves': {
      curve: [_point(runs, curve, i) for i in range(len(points))]
      for curve, points in first.points.items()
    },
  }


def _shape(own: Curves) -> Any:
  """What seeds have in common."""
  sizes = {
    curve: [(point.density, point.dense_params) for point in points]
    for curve, points in own.points.items()
  }
  return own.weights, own.dense_params, own.retrain_steps, sizes


def _means(measured: Sequence[Measured]) -> dict[str, Any]:
  def mean(split: str, name: str) -> float | None:
    values = [getattr(own, split)[name] for own in measured]
    return None if None in values else float(np.mean(values))

  return {
    split: {name: mean(split, name) for name in ('logloss', 'auc')} for split in ('valid', 'test')
  }


def _point(runs: Sequence[Curves], curve: str, place: int) -> dict[str, Any]:
  points = [own.points[curve][place] for own in runs]
  dense = [own.dense for own in runs]
  label_ExT = runs[0].label_ExT
  found = {
    'density': points[0].density,
    'dense_params': points[0].dense_params,
    'width': points[0].width,
    'kept': _mean_shares([point.kept for point in points]),
    **_means([point.measured for point in points]),
    'against_dense': _difference(dense, [point.measured for point in points], label_ExT),
  }
  found |= _ratios(_means(dense)['test']['auc'], found['against_dense']['auc'])
  small = _small_beside(runs, points[0].density)
  if curve != SMALL and small:
    measured = [point.measured for point in points]
    found['against_small'] = _difference(small, measured, label_ExT)
  return found


def _mean_shares(kept: Sequence[dict[str, float] | None]) -> dict[str, float] | None:
  if kept[0] is None:
    return None
  return {name: float(np.mean([own[name] for own in kept])) for name in kept[0]}


def _small_beside(runs: Sequence[Curves], density: float) -> list[Measured]:
  """The small networks of the size of a density; none where they were not trained."""
  return [
    point.measured
    for own in runs
    for point in own.points.get(SMALL, [])
    if point.density == density
  ]


def _difference(
  first: Sequence[Measured], second: Sequence[Measured], label_ExT: np.ndarray
) -> dict[str, Any]:
  """second - first, test log loss and AUC; AUC is None where it is undefined."""
  first_SxExT, second_SxExT = (np.stack([own.logits_ExT for own in m]) for m in (first, second))
  found = {'logloss': paired_rows.logloss_difference(first_SxExT, second_SxExT, label_ExT)}
  if first[0].test['auc'] is not None:
    found['auc'] = paired_rows.auc_difference(first_SxExT, second_SxExT, label_ExT)
  return {'auc': None} | {
    name: {'value': one.value, 'interval': one.interval} for name, one in found.items()
  }


def _ratios(dense_auc: float | None, change: dict[str, Any] | None) -> dict[str, Any]:
  """AUC over that of the dense network, and the same of what AUC is above .5.

  Intervals are those of the difference over the mean of the dense network: its own error would
  change them by less than a hundredth.
  """
  names = {'auc_ratio': 0.0, 'auc_above_half_ratio': 0.5}
  if dense_auc is None or change is None:
    return dict.fromkeys(names)
  return {name: _over(dense_auc - floor, change) for name, floor in names.items()}


def _over(dense: float, change: dict[str, Any]) -> dict[str, Any]:
  interval = change['interval']
  return {
    'value': 1 + change['value'] / dense,
    'interval': interval and tuple(1 + end / dense for end in interval),
  }


def save_logits(directory: pathlib.Path, curves: Curves) -> None:
  """Writes density.npz; what `summary` says of the curves alone goes into density.json after it."""
  arrays = {'label': curves.label_ExT, 'dense': curves.dense.logits_ExT}
  arrays['untrained'] = curves.untrained.logits_ExT
  for curve, points in curves.points.items():
    for i, point in enumerate(points):
      arrays[f'{curve} {i}'] = point.measured.logits_ExT
  with whole_file.replacing(directory / 'density.npz') as temporary, temporary.open('wb') as file:
    np.savez(file, **arrays)


def load(directory: pathlib.Path) -> tuple[dict[str, Any], Curves]:
  """(what density.json says, the curves) of one run."""
  found = record.read_json(directory / 'density.json')
  with np.load(directory / 'density.npz') as arrays:

    def measured(numbers: dict[str, Any], name: str) -> Measured:
      return Measured(numbers['valid'], numbers['test'], arrays[name])

    points = {
      curve: [
        Point(
          density=own['density'],
          dense_params=own['dense_params'],
          measured=measured(own, f'{curve} {i}'),
          width=own['width'],
          kept=own['kept'],
        )
        for i, own in enumerate(on_curve)
      ]
      for curve, on_curve in found['curves'].items()
    }
    return found, Curves(
      weights=found['weights'],
      dense_params=found['dense_params'],
      retrain_steps=found['retrain_steps'],
      dense=measured(found['dense'], 'dense'),
      untrained=measured(found['untrained'], 'untrained'),
      points=points,
      label_ExT=arrays['label'],
    )


def check_seeds(directories: Sequence[pathlib.Path]) -> None:
  """Raises ValueError naming the settings in which runs differ beyond their seed, or the seed that
  two of them have.
  """
  configs = [run_directory.read(directory)[0] for directory in directories]
  raw = [config_lib.flat(config_lib.to_raw(config)) for config in configs]
  differ = {name for own in raw for name in config_lib.differing(raw[0], own)} - {'seed'}
  if differ:
    raise ValueError(f'--run: the runs differ in {", ".join(sorted(differ))}, not in seed alone')
  seeds = [config.seed for config in configs]
  twice = [seed for seed in seeds if seeds.count(seed) > 1]
  if twice:
    raise ValueError(f'--run: two of the runs have seed {twice[0]}')


def is_there(directory: pathlib.Path, about: dict[str, Any]) -> bool:
  """Whether a run was measured already, with the same `about`."""
  if not (directory / 'density.json').is_file():
    return False
  found = record.read_json(directory / 'density.json')
  return all(found.get(name) == value for name, value in about.items())


def over_seeds(directories: Sequence[pathlib.Path]) -> dict[str, Any]:
  """The summary of several runs that were measured, and which ones they are."""
  saved = [load(directory) for directory in directories]
  about = {
    'model': saved[0][0]['model'],
    'run_ids': [found['run_id'] for found, _ in saved],
    'steps': [found['step'] for found, _ in saved],
  }
  return about | summary([curves for _, curves in saved])
