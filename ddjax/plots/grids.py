"""Pictures of sets: a grid of images, and initial images beside distilled ones."""

from typing import TYPE_CHECKING, Sequence

import numpy as np

from ddjax.plots import figures

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_CELL_INCHES = 0.5
_GAP = 1  # white pixels between images


def image_grid(
  pixels: np.ndarray,
  classes: np.ndarray,
  class_names: Sequence[str],
  *,
  title: str = "",
  max_per_class: int = 10,
  max_classes: int = 20,
) -> "Figure":
  """Images in rows by class.

  Args:
    pixels: f32[n h w c], c 1 or 3; values outside [0, 1] are clipped, and a note says how many.
    classes: i[n] in [0, k), or label vectors f32[n k], of which the largest entry counts.
    class_names: k names.
    title: above the pictures.
    max_per_class: columns at most; further images are left out, and a note says so.
    max_classes: rows at most, likewise.
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
  """Mosaics of the same rows side by side, class names on the left, notes below."""
  classes = np.asarray(classes)
  classes = classes.argmax(-1) if classes.ndim == 2 else classes.astype(int)
  panels = [(title, np.asarray(pixels, np.float32)) for title, pixels in panels]
  for _, pixels in panels:
    _check(pixels, classes, class_names)
  shown = np.unique(classes)[:max_classes]
  rows = [np.flatnonzero(classes == index) for index in shown]
  num_columns = min(max_per_class, max(map(len, rows)))
  rows = [row[:num_columns] for row in rows]

  height, width = panels[0][1].shape[1:3]
  panel_inches = max(num_columns * _CELL_INCHES, 1.4)
  grid_inches = len(rows) * panel_inches / num_columns * height / width
  figure = figures.new_figure(len(panels) * panel_inches + 1.2, grid_inches + 0.6)
  all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
  for axes, (title, pixels) in zip(all_axes, panels):
    axes.imshow(_mosaic(pixels, rows, num_columns), interpolation="nearest")
    axes.set_title(title, fontsize=10, color=figures.BLACK)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
  centres = [row * (height + _GAP) + height / 2 for row in range(len(rows))]
  names = [str(class_names[index]) for index in shown]
  all_axes[0].set_yticks(centres, names, fontsize=8, color=figures.BLACK)
  all_axes[0].tick_params(length=0)
  notes = _notes(panels, classes, rows, shown)
  if notes:
    figure.supxlabel(notes, fontsize=7, color=figures.GREY)
  return figure


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


def _mosaic(pixels: np.ndarray, rows: Sequence[np.ndarray], num_columns: int) -> np.ndarray:
  """One white RGB picture, f32[H W 3], holding the images of each row."""
  height, width = pixels.shape[1:3]
  cell_height, cell_width = height + _GAP, width + _GAP
  canvas = np.ones((len(rows) * cell_height - _GAP, num_columns * cell_width - _GAP, 3), np.float32)
  for row, indices in enumerate(rows):
    for column, index in enumerate(indices):
      top, left = row * cell_height, column * cell_width
      canvas[top : top + height, left : left + width] = np.clip(pixels[index], 0, 1)
  return canvas


def _notes(panels, classes: np.ndarray, rows, shown) -> str:
  """What the picture leaves out or alters."""
  notes = []
  num_classes = len(np.unique(classes))
  if len(shown) < num_classes:
    notes.append(f"the first {len(shown)} of {num_classes} classes")
  most = int(np.bincount(classes).max())
  if max(map(len, rows)) < most:
    notes.append(f"the first {max(map(len, rows))} of {most} images a class")
  for title, pixels in panels:
    outside = float(np.mean((pixels < 0) | (pixels > 1)))
    if outside >= 0.0005:
      notes.append(f"{title} {outside:.1%} of values clipped to [0, 1]".strip())
  return "; ".join(notes)
