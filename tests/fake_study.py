"""Studies made up from a known law, as launch.sweep would write them."""

from collections.abc import Callable, Mapping, Sequence
import hashlib
import json
import pathlib

import numpy as np

from rec_sparse.scaling.records import METRICS
from rec_sparse.scaling.records import Rung

Truth = Callable[[float], float]
TEACHER = {'logloss': 0.4378, 'auc': 0.802}


def power_law(E: float = 0.4378, A: float = 0.04, alpha: float = 0.3) -> Truth:
  """Test log loss that keeps falling towards E."""
  return lambda flops: E + A * (flops / 1e4) ** -alpha


def plateau(E: float = 0.4378, A: float = 0.04, alpha: float = 0.3, x_s: float = 4e4) -> Truth:
  """Test log loss that stops falling at x_s."""
  return lambda flops: E + A * (min(flops, x_s) / 1e4) ** -alpha


def write_study(
  directory: pathlib.Path,
  truths: Mapping[str, Truth],
  noise: float = 2e-4,
  seeds: int = 3,
  widths: Sequence[int] = (16, 32, 64, 128, 256, 512),
  depths: Sequence[int] = (2,),
  learning_rates: Sequence[float] = (0.001, 0.003, 0.01),
  teacher: dict | None = TEACHER,
) -> pathlib.Path:
  """Writes a whole study; the middle learning rate is the best one. Returns its directory."""
  rng = np.random.default_rng(7)
  (directory / 'trials').mkdir(parents=True)
  records = [
    trial_record(
      arm, width, depth, seed, rate, truth, noise * rng.normal(), abs(k - len(learning_rates) // 2)
    )
    for arm, truth in truths.items()
    for width in widths
    for depth in depths
    for k, rate in enumerate(learning_rates)
    for seed in range(seeds)
  ]
  for record in records:
    write_trial(directory, record)
  scale = {'width': list(widths), 'depth': list(depths), 'views': [1]}
  arms = [{'name': arm, 'model': arm, 'overrides': {}, 'scale': scale} for arm in truths]
  study = {
    'name': 'sweep',
    'title': 'sweep',
    'source': '',
    'seeds': list(range(seeds)),
    'learning_rates': list(learning_rates),
    'arms': arms,
  }
  listing = {arm: [r['run_id'] for r in records if r['arm'] == arm] for arm in truths}
  write_directory(directory, [{'study': study, 'recipes': {}, 'trials': listing}], teacher)
  return directory


def write_directory(
  directory: pathlib.Path, studies: list[dict], teacher: dict | None = TEACHER
) -> None:
  """Writes study.json."""
  about = {
    'format_version': 2,
    'data': 'data/teacher',
    'data_fingerprint': 'f' * 64,
    'teacher': teacher,
    'realised_logloss': teacher and teacher['logloss'],
    'test_base_rate': 0.26,
    'commands': ['python -m launch.sweep --out=made-up'],
    'studies': studies,
  }
  (directory / 'study.json').write_text(json.dumps(about))


def trial_record(
  arm: str, width: int, depth: int, seed: int, rate: float, truth: Truth, noise: float, off: int
) -> dict:
  """One finished trial; `off` steps away from the best learning rate cost 0.002 nats each."""
  share = 1.0 if arm.startswith('dense') else 0.4  # a sparse arm keeps some of its connections
  params = depth * width * width + 40 * width
  loss = truth(2 * share * params) + noise + 0.002 * off
  config = {'model': arm, 'width': width, 'depth': depth, 'seed': seed, 'learning_rate': rate}
  return {
    'run_id': hashlib.sha256(json.dumps(config).encode()).hexdigest(),
    'config': config,
    'arm': arm,
    'width': width,
    'depth': depth,
    'views': 1,
    'seed': seed,
    'learning_rate': rate,
    'dense_params': params,
    'dense_params_nonzero': int(share * params),
    'embedding_params': 160_000,
    'embedding_params_nonzero': 160_000,
    'flops_per_example': 2 * share * params,
    'train_examples': 1_000_000,
    'valid_logloss': loss + 1e-4,
    'valid_auc': 1.02 - loss / 2,
    'test_logloss': loss,
    'test_auc': 1.021 - loss / 2,
    'wall_seconds': 1.5,
    'device': 'cpu',
    'status': 'finished',
    'versions': {'jax': '0.10.2', 'numpy': '2.4.6'},
  }


def write_trial(directory: pathlib.Path, record: dict) -> None:
  """Writes one record where the study looks for it."""
  (directory / 'trials' / f'{record["run_id"]}.json').write_text(json.dumps(record))


def edit_trials(directory: pathlib.Path, change: Callable[[dict], dict | None]) -> None:
  """Rewrites every record through `change`; None deletes it."""
  for path in sorted((directory / 'trials').glob('*.json')):
    record = change(json.loads(path.read_text()))
    if record is None:
      path.unlink()
    else:
      path.write_text(json.dumps(record))


def fail(record: dict, status: str = 'failed', error: str = 'Resource exhausted') -> dict:
  """The record as if the trial had not finished."""
  nulls = dict.fromkeys(('valid_logloss', 'valid_auc', 'test_logloss', 'test_auc'))
  return record | nulls | {'status': status, 'error': error}


def make_rung(
  arm: str,
  flops: float,
  losses: Sequence[float],
  width: int = 1,
  seeds: tuple[int, ...] | None = None,
  nonzero: float | None = None,
) -> Rung:
  """A rung whose every metric is `losses`, one value a seed."""
  seeds = tuple(range(len(losses))) if seeds is None else seeds
  nonzero = flops / 2 if nonzero is None else nonzero
  return Rung(
    arm=arm,
    scale={'width': width, 'depth': 1, 'views': 1},
    shape='',
    flops=flops,
    nonzero=nonzero,
    dense_params=nonzero,
    embedding_params=10.0,
    embedding_nonzero=10.0,
    learning_rate=0.1,
    edge='',
    full_grid=True,
    seeds=seeds,
    run_ids=tuple(map(str, seeds)),
    metrics=dict.fromkeys(METRICS, np.asarray(losses, float)),
  )
