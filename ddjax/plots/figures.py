"""What all figures share: colours, a blank figure, and saving. Matplotlib is imported on first use.

Colours are those of Okabe and Ito (2008), told apart by people with colour blindness; series differ
in dashes too, so that figures survive a black-and-white printer.
"""

import io
import os
from typing import TYPE_CHECKING

import numpy as np

from ddjax.files import atomic

if TYPE_CHECKING:
  from matplotlib.figure import Figure

BLACK = "#1a1a1a"
GREY = "#767676"
PALE = "#e3e3e3"
BLUE = "#0072b2"
ORANGE = "#d55e00"
GREEN = "#009e73"
PURPLE = "#9c4f80"
SERIES = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (PURPLE, ":"))
MARKERS = "os^Dv<>pXP*h"
MANY = (
  BLUE, ORANGE, GREEN, PURPLE, "#b8860b", "#3a9ad9", "#7a5230", "#5a5a9e", "#c23b6e", "#2f6f6f",
)  # fmt: skip
"""Colours for more than four series, which then differ in their markers too."""

_DPI = 150
_MOST_SIGNS = 40
_MOST_OFF = 0.1  # of 255, on average over the pixels of a figure: edges of letters alone


def new_figure(width: float, height: float, *, fixed_aspect: bool = False) -> "Figure":
  """A blank white figure of `width` by `height` inches, laid out without overlaps.

  With `fixed_aspect` panels of pictures move together. A notebook shows the figure.
  """
  from ddjax.plots.picture import Picture

  layout = "compressed" if fixed_aspect else "constrained"
  return Picture(figsize=(width, height), dpi=_DPI, layout=layout, facecolor="white")


def as_text(name: object) -> str:
  """A name of the user's, such as a class's, for Matplotlib: no formula, 40 signs at most."""
  name = str(name)
  return (name if len(name) <= _MOST_SIGNS else name[: _MOST_SIGNS - 1] + "…").replace("$", r"\$")


def tidy(axes) -> None:
  """Takes the frame's upper and right lines away and puts a faint grid behind the data."""
  axes.spines[["top", "right"]].set_visible(False)
  axes.grid(color=PALE, linewidth=0.6)
  axes.set_axisbelow(True)
  axes.tick_params(which="both", labelsize=8, color=GREY)


def as_png(figure: "Figure") -> bytes:
  """A figure as PNG at 150 dots an inch, opaque.

  Lines and grey images, which 256 colours show as well, are stored by a palette: less than half the
  bytes. Colour photographs keep all their colours.
  """
  from PIL import Image

  buffer, small = io.BytesIO(), io.BytesIO()
  figure.savefig(buffer, format="png", dpi=_DPI, bbox_inches="tight", pad_inches=0.08)
  with Image.open(buffer) as image:
    opaque = image.convert("RGB")
  by_palette = opaque.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
  off = np.asarray(by_palette.convert("RGB"), np.float32) - np.asarray(opaque, np.float32)
  is_alike = np.abs(off).mean() < _MOST_OFF
  (by_palette if is_alike else opaque).save(small, "PNG", optimize=True)
  return small.getvalue()


def save_figure(figure: "Figure", path: str | os.PathLike) -> None:
  """Writes a figure as PNG at 150 dots an inch; raises atomic.OutputError where it cannot."""
  atomic.write_bytes(path, as_png(figure))
