"""A Matplotlib figure that a notebook shows by itself, without pyplot or a backend.

Apart from `figures.py`, which is imported where Matplotlib is not needed.
"""

import io

from matplotlib.figure import Figure


class Picture(Figure):
  """A figure with the form in which notebooks show objects."""

  def _repr_png_(self) -> bytes:
    """The figure as PNG at its own resolution."""
    buffer = io.BytesIO()
    self.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0.08)
    return buffer.getvalue()
