"""Pictures of sets: a grid of images, and initial images beside distilled ones."""

from typing import TYPE_CHECKING, NamedTuple, Sequence

import numpy as np

from ddjax.plots import figures

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_CELL_INCHES = 0.5
_GAP = 1  # white pixels between images
_TILES_PER_ROW = 10


def image_grid(
  pixels: np.ndarray,
  classes: np.ndarray,
  class_names: Sequence[str],
  *,
  title: str = "",
  max_per_class: int = 10,
  max_classes: int = 20,
) -> "Figure":
  """Images in rows by class, or, where each class has one image, ten classes to a row.

  Args:
    pixels: f32[n h w c], c 1 or 3; values outside [0, 1] are clipped, and a note says how many.
    classes: i[n] in [0, k), or label vectors f32[n k], of which the largest entry counts.
    class_names: k names.
    title: above the pictures.
    max_per_class: columns at most; further images are left out, and a note says so.
    max_classes: rows of several images at most, likewise.
  Raises:
    ValueError: for wrong shapes, numbers that are not finite, or a class without a name.
  """
  return _panels([(title, pixels)], classes, class_names, max_per_class, max_classes)


def before_after(
  initial: np.ndarray,
  distilled: np.ndarray,
  classes: np.ndarray,
  class_names: Sequence[str],
  *,
  max_per_class: int = 10,
  max_classes: int = 20,
) -> "Figure":
  """Initial images on the left, what they became on the right; the same image at the same place.

  Args and errors as `image_grid`; `initial` and `distilled` are f32[n h w c] alike.
  """
  panels = [("initial", initial), ("distilled", distilled)]
  return _panels(panels, classes, class_names, max_per_class, max_classes)


def _panels(panels, classes, class_names, max_per_class: int, max_classes: int) -> "Figure":
  """Mosaics of the same layout side by side, class names once, notes below."""
  classes = np.asarray(classes)
  classes = classes.argmax(-1) if classes.ndim == 2 else classes.astype(int)
  panels = [(title, np.asarray(pixels, np.float32)) for title, pixels in panels]
  for _, pixels in panels:
    _check(pixels, classes, class_names)
  if np.bincount(classes).max() == 1:
    layout = _tiles(classes, class_names, panels[0][1].shape[1])
  else:
    layout = _rows(classes, class_names, max_per_class, max_classes)

  num_columns = max(map(len, layout.rows))
  height, width = panels[0][1].shape[1:3]
  panel_inches = num_columns * _CELL_INCHES
  row_inches = _CELL_INCHES * (height + layout.gap) / width
  name_inches = 0.075 * max(map(len, layout.row_names), default=0)
  figure = figures.new_figure(
    len(panels) * max(panel_inches + 0.15, 1.2) + name_inches,
    len(layout.rows) * row_inches + 0.75,
    fixed_aspect=True,
  )
  if (layout_engine := figure.get_layout_engine()) is not None:
    layout_engine.set(wspace=0.03)  # pyright: ignore[reportCallIssue]
  all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
  for axes, (title, pixels) in zip(all_axes, panels):
    axes.imshow(_mosaic(pixels, layout.rows, layout.gap), interpolation="nearest")
    axes.set_title(title, fontsize=10, color=figures.BLACK)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if layout.tile_names:
      _name_tiles(axes, layout, height, width)
  if layout.row_names:
    centres = [
      layout.gap + row * (height + layout.gap) + height / 2 for row in range(len(layout.rows))
    ]
    all_axes[0].set_yticks(centres, layout.row_names, fontsize=8, color=figures.BLACK)
    all_axes[0].tick_params(length=0)
  notes = layout.notes + _clipped(panels)
  if notes:
    figure.supxlabel("; ".join(notes), fontsize=7, color=figures.GREY)
  return figure


class _Layout(NamedTuple):
  """Which images lie where: `rows` of indices; gap in pixels above each row; names; notes."""

  rows: list[np.ndarray]
  gap: int
  row_names: list[str]
  tile_names: list[list[str]]
  notes: list[str]


def _rows(classes: np.ndarray, class_names, max_per_class: int, max_classes: int) -> _Layout:
  """A row a class."""
  present = np.unique(classes)
  shown = present[:max_classes]
  most = int(np.bincount(classes).max())
  notes = []
  if len(shown) < len(present):
    notes.append(f"the first {len(shown)} of {len(present)} classes")
  if most > max_per_class:
    notes.append(f"the first {max_per_class} of {most} images a class")
  rows = [np.flatnonzero(classes == index)[:max_per_class] for index in shown]
  return _Layout(rows, _GAP, [figures.as_text(class_names[index]) for index in shown], [], notes)


def _tiles(classes: np.ndarray, class_names, height: int) -> _Layout:
  """One image a class, ten to a row, its name above each."""
  order = np.argsort(classes)
  rows = [order[start : start + _TILES_PER_ROW] for start in range(0, len(order), _TILES_PER_ROW)]
  names = [[_short(str(class_names[classes[index]])) for index in row] for row in rows]
  return _Layout(rows, max(_GAP, round(0.32 * height)), [], names, [])


def _name_tiles(axes, layout: _Layout, height: int, width: int) -> None:
  """Writes the class above each image."""
  for row, names in enumerate(layout.tile_names):
    for column, name in enumerate(names):
      left = column * (width + _GAP) + (width - 1) / 2
      bottom = layout.gap + row * (height + layout.gap) - 1
      axes.text(left, bottom, name, fontsize=5.5, ha="center", va="bottom", color=figures.BLACK)


def _short(name: str) -> str:
  """A class name that fits above one image."""
  return figures.as_text(name if len(name) <= 11 else name[:10] + "…")


def _check(pixels: np.ndarray, classes: np.ndarray, class_names: Sequence[str]) -> None:
  """Raises ValueError for what cannot be drawn."""
  if pixels.ndim != 4 or pixels.shape[-1] not in (1, 3) or not len(pixels):
    raise ValueError(f"Pixels of shape {pixels.shape} are not [n h w c] with n > 0 and c 1 or 3.")
  if classes.shape != pixels.shape[:1]:
    raise ValueError(f"{len(pixels)} images have classes of shape {classes.shape}.")
  if classes.min() < 0 or classes.max() >= len(class_names):
    raise ValueError(
      f"Classes {classes.min()} to {classes.max()} do not fit {len(class_names)} class names."
    )
  if not np.isfinite(pixels).all():
    raise ValueError(f"{int((~np.isfinite(pixels)).sum())} pixel values are not finite.")


def _mosaic(pixels: np.ndarray, rows: Sequence[np.ndarray], gap: int) -> np.ndarray:
  """One white RGB picture, f32[H W 3], with `gap` pixels above each row of images."""
  height, width = pixels.shape[1:3]
  num_columns = max(map(len, rows))
  shape = (len(rows) * (height + gap), num_columns * (width + _GAP) - _GAP, 3)
  canvas = np.ones(shape, np.float32)
  for row, indices in enumerate(rows):
    for column, index in enumerate(indices):
      top, left = gap + row * (height + gap), column * (width + _GAP)
      canvas[top : top + height, left : left + width] = np.clip(pixels[index], 0, 1)
  return canvas


def _clipped(panels) -> list[str]:
  """How much of each panel lies outside [0, 1], where that is worth a word."""
  shares = [(title, float(np.mean((pixels < 0) | (pixels > 1)))) for title, pixels in panels]
  return [
    f"{title or 'images'}: {share:.1%} of the values are beyond black or white, shown as these"
    for title, share in shares
    if share >= 0.0005
  ]
