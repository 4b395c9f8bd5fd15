"""Joins checkpoints with rec_sparse.analysis: a restored run -> numbers for JSON, and pictures."""

from collections.abc import Callable
import functools
import re
from typing import Any, NamedTuple

import jax
from matplotlib.figure import Figure
import numpy as np

from data_pipelines import blocks
from rec_sparse import config as config_lib
from rec_sparse import models
from rec_sparse import schema as schema_lib
from rec_sparse import train
from rec_sparse.analysis import embedding_collapse
from rec_sparse.analysis import ics_dynamics
from rec_sparse.analysis import implicit_sparsity as implicit_lib
from rec_sparse.analysis import pictures
from rec_sparse.analysis import spectrum
from rec_sparse.analysis import view_diversity
from rec_sparse.embedding import storage
from rec_sparse.embedding import table as table_lib
from rec_sparse.models import ssr_d
from rec_sparse.models import ssr_s
from rec_sparse.runs import identity
from rec_sparse.runs import restored

EXAMPLES = 2048  # first examples of the validation split that the competition is watched on


class Found(NamedTuple):
  """What an analysis gives."""

  numbers: dict[str, Any]  # JSON
  pictures: dict[str, Figure]  # what follows the name of the analysis in the file name -> picture


def implicit_sparsity(run: restored.Restored) -> Found:
  """Small weights, mass by inputs and spectrum of every layer, now and at initialisation; reads
  `dense`.
  """
  dense = restored.item(run, 'dense')
  start = restored.initial(run, 'dense')
  init_std = {
    name: float(np.std(kernel)) for name, kernel in _kept_kernels(run.config, start).items()
  }
  after, before = (
    {
      name: implicit_layer(name, kernel, init_std[name])
      for name, kernel in _kept_kernels(run.config, found).items()
    }
    for found in (dense, start)
  )
  return Found(
    {'layers': after, 'layers_at_init': before}, {'': pictures.implicit_sparsity(after, before)}
  )


def _kept_kernels(config: config_lib.Config, dense: dict[str, Any]) -> dict[str, np.ndarray]:
  """`_kernels` without the rows that a learned filter leaves out."""
  kernels = _kernels(dense['params'])
  for name, mask_VxN in ssr_s.learned_masks(
    config, dense.get('moving', {}).get('masks', {})
  ).items():
    kept_VxK = view_diversity.indices(mask_VxN)
    kernels[name] = np.take_along_axis(kernels[name], kept_VxK[..., None], 1)
  return kernels


def _kernels(params: dict[str, Any]) -> dict[str, np.ndarray]:
  """Every weight matrix or stack of them, from input to head: 'layer_0', 'filter_0/value_kernel',
  'head/linear'.
  """
  found = {}
  for path, leaf in jax.tree.leaves_with_path(params):
    *modules, last = (part.key for part in path)
    if last.endswith('kernel'):
      found['/'.join(modules if last == 'kernel' else (*modules, last))] = np.asarray(leaf)

  def place(name: str) -> tuple[bool, list[int], str]:
    numbers = [int(digits) for digits in re.findall(r'_(\d+)', name)]
    return name.startswith('head'), numbers or [len(found)], name

  return {name: found[name] for name in sorted(found, key=place)}


def implicit_layer(name: str, kernel: np.ndarray, init_std: float) -> dict[str, Any]:
  """A stack of views (V, N, H) counts as the one matrix that it stands for.

  Views of a filter all read the same N inputs: they stand side by side, (N, V H). Any other stack
  is block-diagonal, each view reads inputs of its own: its blocks alone are weights, and its
  spectrum is that of all blocks together.
  """
  if kernel.ndim == 2:
    return implicit_lib.layer(kernel, init_std)
  if name.startswith('filter_'):
    return implicit_lib.layer(np.concatenate(list(kernel), 1), init_std)
  found = implicit_lib.layer(kernel.reshape(-1, kernel.shape[-1]), init_std)
  kernel_VxNxH = kernel.reshape(-1, *kernel.shape[-2:])
  singular = -np.sort(
    -np.concatenate([spectrum.singular_values(block_NxH) for block_NxH in kernel_VxNxH])
  )
  return found | {
    'blocks': len(kernel_VxNxH),
    'singular_values': singular.tolist(),
    'entropy_rank': spectrum.entropy_rank(singular),
    'stable_rank': spectrum.stable_rank(singular),
  }


def ics(run: restored.Restored) -> Found:
  """Zeros, thresholds, alpha and gamma on the first EXAMPLES validation examples, at every
  checkpoint that is kept.

  Of whatever gate the run has: `ics_dynamics.layer` says what is None for a control in place of
  ICS.

  Reads `dense` and `table` of each, and the data set. Step 0, where it is not kept, is initialised
  again; it is what an evaluation would see there: with input_norm=batch the average variance is
  still 1, so inputs are small. Raises Unavailable for a model without competition.
  """
  config = run.config
  if not hasattr(config.options, 'gate'):
    raise restored.Unavailable(f'ics: {config.model} has no competition')
  schema, batch = _validation_batch(run)
  watch = jax.jit(functools.partial(competitions, train.program(config, schema)))
  gate, options, snapshots = config.options.gate, ssr_d.gate_options(config.options), {}
  for step in sorted({0, *run.steps}):
    read = restored.initial
    if step in run.steps:
      read = functools.partial(restored.item, step=step)
    snapshots[step] = ics_dynamics.network(
      watch(read(run, 'dense') | read(run, 'table'), batch), gate, options
    )
  paths = ics_dynamics.over_steps(list(snapshots), list(snapshots.values()))
  now = snapshots[run.step]
  return Found(
    {
      'gate': gate,
      'split': 'valid',
      'examples': len(batch['ids_BxF']),
      'layers': now,
      'over_steps': paths,
    },
    {'': pictures.ics(now), '_over_steps': pictures.ics_over_steps(paths)},
  )


def _validation_batch(run: restored.Restored) -> tuple[schema_lib.FeatureSchema, blocks.Batch]:
  if not (run.data / 'schema.json').is_file():
    raise restored.Unavailable(
      f'ics: needs the data set, and {run.data} holds none; name another place with --data'
    )
  schema = schema_lib.load_schema(run.data)
  identity.check(run.metadata, schema, run.data, run.own)
  split = blocks.open_split(run.data, schema, 'valid')
  return schema, blocks.take(split, np.arange(min(EXAMPLES, split.rows)))


def competitions(
  program: train.Program, state: dict[str, Any], batch: blocks.Batch
) -> dict[str, tuple[jax.Array, jax.Array, jax.Array]]:
  """filter_i -> (z_VxKxB, alpha_VxI, gamma_VxK), evaluation, no dropout."""
  variables = {
    'params': state['params'],
    'constants': {},
    **state.get('moving', {}),
  }
  _, captured = program.module.apply(
    variables,
    looked_up(program, state['table_RxD'], batch),
    train=False,
    mutable=['intermediates'],
  )
  return {
    name: competition
    for name, sown in captured['intermediates'].items()
    for competition in sown['competition']
  }


def looked_up(program: train.Program, table_RxD: jax.Array, batch: blocks.Batch) -> table_lib.Rows:
  """Rows as `train.eval_step` gives them to the network, from a table in logical order."""
  rows = table_lib.read(program.table, table_lib.Table(table_RxD, None), batch['ids_BxF'])
  return train.scaled_by_values(program, rows, batch)


def views(run: restored.Restored) -> Found:
  """Do the views of a layer look at different things? Cosine and overlap of projections, or of
  index sets; `dense`.

  Raises Unavailable for a model without views.
  """
  if 'views' not in models.find(run.config.model).knobs:
    raise restored.Unavailable(f'views: {run.config.model} has none')
  dense = restored.item(run, 'dense')
  if dense.get('constants'):
    learned = ssr_s.learned_masks(run.config, dense.get('moving', {}).get('masks', {}))
    layers = {
      name: view_diversity.filters(
        view_diversity.indices(learned[name]) if learned else np.asarray(drawn['indices_VxK']),
        len(drawn['inverse_NxM']),
      )
      for name, drawn in dense['constants'].items()
    }
    return Found({'layers': layers}, {'': pictures.views(layers, 'jaccard')})
  start = restored.initial(run, 'dense')
  layers, before = (
    {
      name: view_diversity.projections(kernel)
      for name, kernel in _kernels(params).items()
      if name.startswith('filter_')
    }
    for params in (dense['params'], start['params'])
  )
  return Found(
    {'layers': layers, 'layers_at_init': before},
    {
      '': pictures.views(layers, 'cosine'),
      '_subspaces': pictures.views(layers, 'subspace_overlap'),
    },
  )


def embeddings(run: restored.Restored) -> Found:
  """Information abundance per field, at the checkpoint and at initialisation; reads `table`."""
  schema = run.schema
  names = [field.name for field in schema.fields]
  sizes = [field.vocab_size for field in schema.fields]
  placed = train.program(run.config, schema).table

  def look(table: dict[str, jax.Array]) -> dict[str, dict]:
    embedding_RxD = table_lib.by_purpose(placed, table['table_RxD'])['embedding']
    return embedding_collapse.fields(
      np.asarray(storage.decode(embedding_RxD)), names, list(schema.offsets), sizes
    )

  fields = look(restored.item(run, 'table'))
  before = look(restored.initial(run, 'table'))
  return Found({'fields': fields, 'fields_at_init': before}, {'': pictures.embeddings(fields)})


ANALYSES: dict[str, Callable[[restored.Restored], Found]] = {
  'implicit_sparsity': implicit_sparsity,
  'ics': ics,
  'views': views,
  'embeddings': embeddings,
}
