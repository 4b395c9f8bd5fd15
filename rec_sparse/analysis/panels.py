"""What all pictures of analyses share."""

from collections.abc import Mapping, Sequence

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

GREY = '0.45'


def side_by_side(count: int, height: float = 3.6, rows: int = 1) -> tuple[Figure, Sequence[Axes]]:
  """A figure of `count` panels of that height in inches."""
  columns = count // rows
  figure = Figure(figsize=(4.4 * columns, height * rows), layout='constrained', dpi=120)
  return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def colors(count: int) -> list:
  """From dark to light in the order of the layers."""
  return [colormaps['viridis'](x) for x in np.linspace(0, 0.85, count)]


def finish(axes: Axes, title: str, x: str, y: str, legend: bool = False) -> None:
  """Title, labels of the axes, and the look that all panels have."""
  axes.set_title(title, fontsize='medium', loc='left')
  axes.set_xlabel(x)
  axes.set_ylabel(y)
  axes.grid(alpha=0.25)
  axes.set_axisbelow(True)
  axes.spines[['top', 'right']].set_visible(False)
  if legend:
    axes.legend(frameon=False, fontsize='small')


def note_before(figure: Figure, before: Mapping[str, dict] | None) -> None:
  """Says below what stands for a network at initialisation, if there is one."""
  if before:
    said = 'dashed lines and black ticks: at initialisation'
    figure.supxlabel(said, fontsize='small', color=GREY)
