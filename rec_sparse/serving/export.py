"""Writes the network of a run as an artifact: a directory with the loader that reads it.

The network is what its architecture serves (`Architecture.served`), lowered once for CPU, CUDA and
TPU and for batches of any size. Its weights are arguments, files of their own: as constants, a
table of a gigabyte would be a gigabyte of program text. Kernels that are mostly zeros are written
as compact ones, where that is faster (serving/compacted.py).
"""

from collections.abc import Callable, Mapping
import hashlib
import json
import pathlib
import shutil
from typing import Any
import urllib.parse

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines import encoder as encoder_lib
from data_pipelines import spec as spec_lib
from data_pipelines import staging
from data_pipelines import vocabulary
from rec_sparse import config as config_lib
from rec_sparse import models
from rec_sparse import record
from rec_sparse import train
from rec_sparse.embedding import table as table_lib
from rec_sparse.runs import trained as trained_lib
from rec_sparse.serving import compacted
from rec_sparse.serving import loader
from rec_sparse.serving.loader import network as network_lib

Weights = Mapping[str, np.ndarray | jax.Array]  # by name
Outputs = tuple[jax.Array, jax.Array]  # logits_BxT, probability_BxT
Call = Callable[[Weights, jax.Array, jax.Array], Outputs]  # (weights, ids_BxF, value_BxA)

PLATFORMS = ('cpu', 'cuda', 'tpu')
_NETWORK = 'network.stablehlo'  # as jax.export serializes it


def check_free(out: pathlib.Path) -> None:
  """Raises ValueError when `out` is there already, but for an empty directory."""
  if out.exists() and not (out.is_dir() and not any(out.iterdir())):
    raise ValueError(f'--out={out}: not empty; remove it or choose another directory')


def export(
  trained: trained_lib.Trained, out: pathlib.Path, *, compact: bool = True
) -> dict[str, Any]:
  """Makes the directory `out`, of a restored run -> artifact.json.

  compact: kernels with enough zeros are written, and multiplied, without most of them.
  Raises ValueError when the data are damaged; on any error `out` does not appear.
  """
  check_free(out)
  with staging.directory(out) as directory:
    about = _about(trained) | {'fields': _fields(trained, directory)}
    about['network'] = _network(trained, about, directory, compact)
    shutil.copytree(
      pathlib.Path(loader.__file__).parent,
      directory / 'loader',
      ignore=shutil.ignore_patterns('__pycache__'),
    )

    about['files'] = _marks(directory)
    listed = json.dumps(about, sort_keys=True).encode()
    about['hash'] = hashlib.sha256(listed).hexdigest()
    record.write_json(directory / 'artifact.json', about)
  return about


def _about(trained: trained_lib.Trained) -> dict[str, Any]:
  config = trained.program.config
  source = trained.schema.source
  return {
    'artifact_version': network_lib.FORMAT,
    'run_id': config_lib.run_id(config),
    'step': trained.step,
    'model': config.model,
    'tasks': list(trained.schema.tasks),
    'vocabulary': trained.schema.vocabulary,
    'source': {name: source.get(name) for name in ('kind', *spec_lib.KEYS)},
  }


def _fields(trained: trained_lib.Trained, directory: pathlib.Path) -> list[dict[str, Any]]:
  """The entries of the fields; writes the vocabularies of raw logs."""
  schema = trained.schema
  fields = [
    {'name': field.name, 'kind': field.kind, 'rows': field.vocab_size, 'offset': offset}
    for field, offset in zip(schema.fields, schema.offsets, strict=True)
  ]
  if not schema.columns:
    return fields
  encoder = encoder_lib.load(trained.data)
  return [field | encoding(encoder, field['name'], directory) for field in fields]


def encoding(encoder: encoder_lib.Encoder, name: str, directory: pathlib.Path) -> dict[str, Any]:
  """What the loader must know to encode a field."""
  column, table = encoder.made[name]
  entry = {
    'treatment': column.treatment,
    'numbers': column.numbers,
    'missing_texts': list(spec_lib.missing_of(encoder.spec, name)),
  }
  if column.treatment == 'quantile':
    entry['edges'] = column.edges
  if table is None:
    scale = {key: getattr(column, key) for key in ('low', 'high', 'mean', 'deviation')}
    return entry | scale

  file = f'vocab/{urllib.parse.quote(name, safe=" ")}.json'
  path = directory / file
  path.parent.mkdir(exist_ok=True)
  values = vocabulary.meaning(table).to_list()
  path.write_text(json.dumps(values, ensure_ascii=False, indent=0) + '\n', encoding='utf-8')
  return entry | {'vocabulary': file}


def _network(
  trained: trained_lib.Trained, about: Mapping[str, Any], directory: pathlib.Path, compact: bool
) -> dict[str, Any]:
  """Writes the lowered network, and those of its weights that it reads."""
  weights, call = _served(trained)
  compacts = _compacts(weights, call, about) if compact else {}
  if compacts:
    weights, call = _with(compacts, weights, call)
  used = _used(weights, call, about)

  def of_used(given: list[jax.Array], ids_BxF: jax.Array, value_BxA: jax.Array) -> Outputs:
    unused = {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in weights.items()}
    return call(unused | dict(zip(used, given, strict=True)), ids_BxF, value_BxA)

  exported = network_lib.lower(of_used, [weights[name] for name in used], about, PLATFORMS)
  (directory / _NETWORK).write_bytes(exported.mlir_module_serialized)
  (directory / 'weights').mkdir()
  files = [f'weights/{name}.npy' for name in used]
  for name, file in zip(used, files, strict=True):
    np.save(directory / file, weights[name])
  return {
    'file': _NETWORK,
    'platforms': list(PLATFORMS),
    'calling_convention_version': exported.calling_convention_version,
    'jax': jax.__version__,
    'weights': files,
    'compact': {path: list(form.kernel_GxKxJ.shape) for path, form in compacts.items()},
  }


def _compacts(weights: Weights, call: Call, about: Mapping[str, Any]) -> compacted.Compacts:
  """Of the network at one example: the first row of the table in each field."""
  ids_BxF = jnp.zeros((1, len(about['fields'])), jnp.int32)
  value_BxA = jnp.zeros((1, network_lib.numeric(about)))
  arrays = {name: jnp.asarray(leaf) for name, leaf in weights.items()}
  return compacted.find(lambda: call(arrays, ids_BxF, value_BxA))


def _with(
  compacts: compacted.Compacts, weights: Weights, call: Call
) -> tuple[dict[str, np.ndarray | jax.Array], Call]:
  """The same network with compact kernels as weights; of the dense ones nothing reads."""
  leaves, treedef = jax.tree.flatten_with_path(dict(compacts))
  names = [jax.tree_util.keystr(path, simple=True, separator='.') for path, _ in leaves]
  files = ['compact.' + name.replace('/', '.') for name in names]

  def with_compacts(given: Weights, ids_BxF: jax.Array, value_BxA: jax.Array) -> Outputs:
    own = jax.tree.unflatten(treedef, [given[name] for name in files])
    with compacted.use(own):
      return call(given, ids_BxF, value_BxA)

  return dict(weights) | dict(zip(files, [leaf for _, leaf in leaves], strict=True)), with_compacts


def _served(trained: trained_lib.Trained) -> tuple[Weights, Call]:
  """The weights of what is served, and the function of them and of encoded rows."""
  run = trained.program
  variables = train.variables(trained.state)
  served = models.find(run.config.model).served(run.config, run.inputs, variables)
  # on one device a table has no padding: each of its rows is one that an id may name
  table = table_lib.settled(trained.state.table)
  whole = {'table': table.rows_RxD, 'dense': dict(served.variables)}
  paths, treedef = jax.tree.flatten_with_path(whole)
  leaves = {
    jax.tree_util.keystr(path, simple=True, separator='.'): np.asarray(leaf) for path, leaf in paths
  }

  def call(given: Weights, ids_BxF: jax.Array, value_BxA: jax.Array) -> Outputs:
    whole = jax.tree.unflatten(treedef, [given[name] for name in leaves])
    batch = {'ids_BxF': ids_BxF, 'value_BxA': value_BxA}
    table = table_lib.Table(whole['table'], None)
    logits_BxT = train.forward(run, served.module, whole['dense'], table, batch)
    return logits_BxT, jax.nn.sigmoid(logits_BxT)

  return leaves, call


def _used(weights: Weights, call: Call, about: Mapping[str, Any]) -> list[str]:
  """The names of the weights that a prediction reads: gradients, say, need some others."""
  names = list(weights)

  def of_all(leaves: list[jax.Array], ids_BxF: jax.Array, value_BxA: jax.Array) -> Outputs:
    return call(dict(zip(names, leaves, strict=True)), ids_BxF, value_BxA)

  # of a fixed B: where B is open, jax keeps all arguments
  exported = jax.export.export(jax.jit(of_all))(
    list(weights.values()),
    jax.ShapeDtypeStruct((8, len(about['fields'])), jnp.int32),
    jax.ShapeDtypeStruct((8, network_lib.numeric(about)), jnp.float32),
  )
  kept = exported.module_kept_var_idx
  return [name for i, name in enumerate(names) if i in kept]


def _marks(directory: pathlib.Path) -> dict[str, str]:
  """SHA-256 of each file."""
  marks = {}
  for path in sorted(directory.rglob('*')):
    if path.is_file():
      with path.open('rb') as file:
        mark = hashlib.file_digest(file, 'sha256')
      marks[path.relative_to(directory).as_posix()] = mark.hexdigest()
  return marks
