"""Joins checkpoints with rec_sparse.analysis: a restored run -> numbers for JSON, and pictures."""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
from matplotlib.figure import Figure
import numpy as np

from data_pipelines import blocks
from rec_sparse import models
from rec_sparse import train
from rec_sparse.analysis import embedding_collapse
from rec_sparse.analysis import ics_dynamics
from rec_sparse.analysis import implicit_sparsity as implicit_lib
from rec_sparse.analysis import pictures
from rec_sparse.analysis import redundancy_pictures
from rec_sparse.analysis import spectrum
from rec_sparse.analysis import units as units_lib
from rec_sparse.analysis import view_diversity
from rec_sparse.embedding import storage
from rec_sparse.embedding import table as table_lib
from rec_sparse.models import ssr_d
from rec_sparse.runs import activations
from rec_sparse.runs import kernels
from rec_sparse.runs import restored

UNIT_EXAMPLES = 16_384  # examples of the validation split that units are looked at on
EXAMPLES = 2048  # first examples of the validation split that the competition is watched on


class Found(NamedTuple):
  """What an analysis gives."""

  numbers: dict[str, Any]  # JSON
  pictures: dict[str, Figure]  # what follows the name of the analysis in the file name -> picture


def implicit_sparsity(run: restored.Restored) -> Found:
  """Small weights, mass by inputs and spectrum of every layer, now and at initialisation; reads
  `dense`.
  """
  dense = kernels.of(run, restored.item(run, 'dense'))
  start = kernels.of(run, restored.initial(run, 'dense'))
  init_std = {name: float(np.std(kernel.weights)) for name, kernel in start.items()}
  after, before = (
    {name: implicit_layer(kernel, init_std[name]) for name, kernel in found.items()}
    for found in (dense, start)
  )
  return Found(
    {'layers': after, 'layers_at_init': before}, {'': pictures.implicit_sparsity(after, before)}
  )


def implicit_layer(kernel: kernels.Kernel, init_std: float) -> dict[str, Any]:
  """A stack of matrices (..., N, H) counts as the one matrix that it stands for.

  Those that read the same N inputs stand side by side, (N, V H). Any other stack is block-diagonal,
  each matrix reads inputs of its own: its blocks alone are weights, and its spectrum is that of all
  blocks together.
  """
  kernel_VxNxH = kernel.weights.reshape(-1, *kernel.weights.shape[-2:])
  if len(kernel_VxNxH) == 1 or kernel.mark.shared_inputs:
    return implicit_lib.layer(np.concatenate(list(kernel_VxNxH), 1), init_std)
  found = implicit_lib.layer(kernel_VxNxH.reshape(-1, kernel_VxNxH.shape[-1]), init_std)
  blocks = [spectrum.singular_values(block_NxH) for block_NxH in kernel_VxNxH]
  singular = -np.sort(-np.concatenate(blocks))
  return found | {'blocks': len(kernel_VxNxH)} | spectrum.summary(singular)


def ics(run: restored.Restored) -> Found:
  """Zeros, thresholds, alpha and gamma on the first EXAMPLES validation examples, at every
  checkpoint that is kept.

  Of whatever gate the run has: `ics_dynamics.layer` says what is None for a control in place of
  ICS.

  Reads `dense` and `table` of each, and the data set. Step 0, where it is not kept, is initialised
  again; it is what an evaluation would see there: with input_norm=batch the average variance is
  still 1, so inputs are small. Raises Unavailable for a model without competition.
  """
  options = run.config.options
  if not isinstance(options, ssr_d.Options):
    raise restored.Unavailable(f'ics: {run.config.model} has no competition')
  schema = activations.open_data(run, 'ics', 'valid')
  split = blocks.open_split(run.data, schema, 'valid')
  batch = blocks.take(split, np.arange(min(EXAMPLES, split.rows)))
  program = train.program(run.config, schema)
  watch = jax.jit(functools.partial(activations.competitions, program))
  snapshots = {}
  for step in sorted({0, *run.steps}):
    if step in run.steps:
      state = restored.state(run, program, step)
    else:
      state = restored.initial_state(run, program)
    snapshots[step] = ics_dynamics.network(
      watch(state, batch), options.gate, ssr_d.gate_options(options)
    )
  if not snapshots[run.step]:
    raise restored.Unavailable(f'ics: {run.config.model} sows no competition (models/ssr_d.py)')
  paths = ics_dynamics.over_steps(list(snapshots), list(snapshots.values()))
  now = snapshots[run.step]
  return Found(
    {
      'gate': options.gate,
      'split': 'valid',
      'examples': len(batch['ids_BxF']),
      'layers': now,
      'over_steps': paths,
    },
    {'': pictures.ics(now), '_over_steps': pictures.ics_over_steps(paths)},
  )


def views(run: restored.Restored) -> Found:
  """Do the views of a layer look at different things? Cosine and overlap of projections, or of
  index sets; `dense`.

  Projections are kernels of views that read the same inputs, index sets those of static filters.
  Raises Unavailable for a model that has neither.
  """
  if 'views' not in models.find(run.config.model).knobs:
    raise restored.Unavailable(f'views: {run.config.model} has none')
  dense = restored.item(run, 'dense')
  index_sets = kernels.static_filters(run, dense)
  if index_sets:
    layers = {name: view_diversity.filters(*found) for name, found in index_sets.items()}
    return Found({'layers': layers}, {'': pictures.views(layers, 'jaccard')})

  layers, before = (
    {
      name: view_diversity.projections(kernel.weights)
      for name, kernel in kernels.of(run, found).items()
      if kernel.mark.shared_inputs and kernel.weights.ndim == 3
    }
    for found in (dense, restored.initial(run, 'dense'))
  )
  if not layers:
    raise restored.Unavailable(
      f'views: {run.config.model} has neither static filters nor kernels of views that are marked '
      'to share their inputs (rec_sparse/models/marks.py)'
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


def units(run: restored.Restored) -> Found:
  """Mutual information of hidden units with the label on UNIT_EXAMPLES validation examples, spread
  over the split, and ranks of the kernels; at the checkpoint and at initialisation.

  Reads `dense` and `table`, and the data set. Raises Unavailable for a model without a hidden layer
  that can be seen (activations.hidden).
  """
  schema = activations.open_data(run, 'units', 'valid')
  program = train.program(run.config, schema)
  marks = kernels.marks(run)
  split = blocks.open_split(run.data, schema, 'valid')
  count = min(UNIT_EXAMPLES, split.rows)
  batch = blocks.take(split, np.arange(count) * split.rows // count)

  def look(state: train.TrainState) -> dict[str, dict]:
    found = activations.hidden(program, marks, state, batch)
    return {name: units_lib.layer(one, batch['label_BxT']) for name, one in found.items()}

  layers = look(restored.state(run, program))
  if not layers:
    raise restored.Unavailable(f'units: {run.config.model} has no hidden layer that can be seen')
  before = look(restored.initial_state(run, program))
  ranks = _ranks(run)
  return Found(
    {
      'split': 'valid',
      'examples': count,
      'layers': layers,
      'layers_at_init': before,
      'kernels': ranks,
    },
    {'': redundancy_pictures.units(layers, before, ranks)},
  )


def _ranks(run: restored.Restored) -> dict[str, dict]:
  """Of each kernel: effective rank and abundance now and at init, and how many are possible."""
  now, at_init = (
    {name: implicit_layer(kernel, 1.0) for name, kernel in kernels.of(run, found).items()}
    for found in (restored.item(run, 'dense'), restored.initial(run, 'dense'))
  )

  def both(layer: dict[str, Any]) -> dict[str, float]:
    return {measure: layer[measure] for measure in ('entropy_rank', 'abundance')}

  return {
    name: {
      'possible': len(now[name]['singular_values']),
      'now': both(now[name]),
      'at_init': both(at_init[name]),
    }
    for name in now
  }


ANALYSES: dict[str, Callable[[restored.Restored], Found]] = {
  'implicit_sparsity': implicit_sparsity,
  'ics': ics,
  'views': views,
  'embeddings': embeddings,
  'units': units,
}
