"""This program and FuxiCTR, turn by turn.

The same networks train on the same rows in batches of the same size.

Theirs runs in a virtual environment of its own (peer_requirements.txt) and a process of its own,
idle while ours works. Each is timed over whole epochs, input included: ours draws the row order,
gathers batches and takes steps (resident feed, row-sparse Adam); theirs does what peer_worker.py
says. Starting, reading files, compiling and a first epoch each are not timed. Theirs uses whichever
of its two loaders (npz, parquet) was faster in a trial epoch before.
"""

from collections.abc import Callable, Iterator
import contextlib
import json
import math
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import IO, NamedTuple

import jax

from data_pipelines import blocks
from data_pipelines import order
from launch.benches import peer_rows
from launch.benches.figure import Figure
from launch.benches.figure import ratio
from rec_sparse import schema as schema_lib
from rec_sparse import settings
from rec_sparse import train
from rec_sparse.runs import feeds

HERE = pathlib.Path(__file__).parent
REQUIREMENTS = HERE / 'peer_requirements.txt'
FORMATS = ('npz', 'parquet')
WORKERS = 1  # of its loader; its default, and the fastest of 0, 1 and 2 on two cores


class Network(NamedTuple):
  name: str  # of the figure
  model: str
  width: int
  depth: int
  cross_layers: int
  batch: int  # examples a step


class Sizes(NamedTuple):
  networks: tuple[Network, ...]
  dim: int  # of the embeddings
  # ours repeats epochs until about this much, so that a round is long enough to time
  seconds: float
  rounds: int


FULL = Sizes(
  (
    Network('peer_mlp', 'dense_mlp', 400, 3, 0, 4096),
    Network('peer_dcnv2', 'dcn_v2', 400, 3, 3, 4096),
    Network('peer_small', 'dcn_v2', 64, 2, 1, 1024),
  ),
  10,
  2.0,
  7,
)
TINY = Sizes(
  (Network('peer_mlp', 'dense_mlp', 4, 1, 0, 256), Network('peer_small', 'dcn_v2', 4, 1, 1, 128)),
  4,
  0.05,
  2,
)

Ask = Callable[[dict], dict]  # a request to the worker -> its answer


def measure(sizes: Sizes, environment: pathlib.Path, data: pathlib.Path) -> Iterator[Figure]:
  """All figures of --what=peer.

  Raises ValueError when the data are missing or the peer cannot be installed.
  """
  schema = schema_lib.load_schema(data)
  split = blocks.open_split(data, schema, 'train')
  python = install(environment)
  with tempfile.TemporaryDirectory() as directory:
    rows = pathlib.Path(directory)
    peer_rows.write(split, schema, sizes.dim, rows)
    command = [str(python), str(HERE / 'peer_worker.py'), directory]
    yield from alternate(sizes, schema, split, command)


def install(environment: pathlib.Path) -> pathlib.Path:
  """The Python of the peer's environment, made when it is missing or its requirements changed."""
  python = environment / 'bin' / 'python'
  stamp = environment / 'installed.txt'
  wanted = REQUIREMENTS.read_text()
  if python.exists() and stamp.exists() and stamp.read_text() == wanted:
    return python
  print(f'  installing the peer in {environment}', flush=True)
  _checked([sys.executable, '-m', 'venv', '--clear', str(environment)])
  pip = [str(python), '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check']
  _checked([*pip, '-r', str(REQUIREMENTS)])
  stamp.write_text(wanted)
  return python


def alternate(
  sizes: Sizes, schema: schema_lib.FeatureSchema, split: blocks.OpenSplit, command: list[str]
) -> Iterator[Figure]:
  """Figures of every network.

  `command` starts a worker but for its last arguments, format and loader processes.
  """
  trial: dict[tuple[str, str], float] = {}
  for data_format in FORMATS:
    with worker([*command, data_format, str(WORKERS)]) as ask:
      for network in sizes.networks:
        _epoch(ask, network)
        trial[network.name, data_format] = _epoch(ask, network)

  for network in sizes.networks:
    best = max(FORMATS, key=lambda data_format: trial[network.name, data_format])
    with (
      worker([*command, best, str(WORKERS)]) as ask,
      contextlib.closing(Ours(sizes, network, schema, split)) as ours,
    ):
      _epoch(ask, network)
      own = []
      theirs = []
      for _ in range(sizes.rounds):
        own.append(ours.epochs())
        theirs.append(_epoch(ask, network))
    yield ratio(
      network.name, own, theirs, f'our examples/s / theirs ({best} loader), batch {network.batch}'
    )
    yield Figure(f'{network.name}_ours', statistics.median(own), 'examples/s', 'input included')
    yield Figure(
      f'{network.name}_theirs', statistics.median(theirs), 'examples/s', 'input included'
    )


class Ours:
  """Our network in training; compiled and warmed up by one epoch when made."""

  def __init__(
    self, sizes: Sizes, network: Network, schema: schema_lib.FeatureSchema, split: blocks.OpenSplit
  ):
    options = {'cross_layers': network.cross_layers} if network.model == 'dcn_v2' else {}
    config = settings.make(
      network.model,
      options
      | {
        'width': network.width,
        'depth': network.depth,
        'embedding_dim': sizes.dim,
        'batch_size': network.batch,
        'input_norm': 'none',
      },
    )
    run = train.program(config, schema)
    self._steps, self._rows = order.steps_per_epoch(split.rows, network.batch), split.rows
    self._state, self._feed = train.init(run, schema), feeds.open_feed(run, split)
    self._epoch()
    self._turns = max(1, math.ceil(sizes.seconds / self._epoch()))

  def epochs(self) -> float:
    """Examples a second over some epochs."""
    seconds = sum(self._epoch() for _ in range(self._turns))
    return self._turns * self._rows / seconds

  def close(self) -> None:
    self._feed.close()

  def _epoch(self) -> float:
    """Seconds of one epoch, in dispatches as launch.train makes them."""
    began = time.perf_counter()
    for start in range(0, self._steps, feeds.DISPATCH):
      self._state, sums = self._feed.advance(self._state, min(feeds.DISPATCH, self._steps - start))
    jax.block_until_ready((self._state, sums))
    return time.perf_counter() - began


@contextlib.contextmanager
def worker(command: list[str]) -> Iterator[Ask]:
  """A running worker; raises ValueError with its last words when it ends early."""
  with (
    tempfile.TemporaryFile('w+') as errors,
    subprocess.Popen(
      command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
    ) as process,
  ):
    try:
      _answer(process, errors)

      def ask(request: dict) -> dict:
        process.stdin.write(json.dumps(request) + '\n')
        process.stdin.flush()
        return _answer(process, errors)

      yield ask
      process.stdin.close()
      process.wait(timeout=60)
    finally:
      process.kill()


def _answer(process: subprocess.Popen, errors: IO[str]) -> dict:
  """The next line of JSON; whatever else the peer prints is skipped."""
  for line in process.stdout:
    if line.startswith('{'):
      return json.loads(line)
  process.wait()
  errors.seek(0)
  said = errors.read().strip().splitlines() or ['nothing']
  raise ValueError(
    f'--what=peer: the worker ended with status {process.returncode} and said: {said[-1]}'
  )


def _epoch(ask: Ask, network: Network) -> float:
  """Their examples a second over one epoch."""
  found = ask(
    {
      'name': network.name,
      'model': network.model,
      'hidden': [network.width] * network.depth,
      'cross_layers': network.cross_layers,
      'batch': network.batch,
      'epochs': 1,
    }
  )
  return found['examples'] / found['seconds']


def _checked(command: list[str]) -> None:
  ran = subprocess.run(command, capture_output=True, text=True)
  if ran.returncode:
    said = (ran.stderr + ran.stdout).strip().splitlines() or ['nothing']
    began = ' '.join(command[1:4])
    raise ValueError(
      f'--what=peer: could not install FuxiCTR in --peer_env; {began} said: {said[-1]}'
    )
