"""Colour-biased images, made of grey ones: the stroke of each takes one of k colours.

In the train part the colour gives the class away with a stated probability; in the test part it
says nothing. A network that learns the colour fails on test images in another class's colour. The
construction follows that of colour-biased digits in work on debiasing (Nam et al. 2020,
arXiv 2007.02561), with colours of our own.
"""

from typing import Sequence

from jaxtyping import Float, Integer, UInt8
import numpy as np

from ddjax.data.source import Source


def colour_source(
  source: Source, bias: float, seed: int, max_value: int
) -> tuple[Source, Integer[np.ndarray, " N"], Integer[np.ndarray, " M"]]:
  """Colours a grey data set; as many colours as classes.

  Args:
    source: images u8[N h w 1].
    bias: share of train images in the colour of their class, in [1/k, 1]; 1/k for none.
    seed: of the draws.
    max_value: the stored value of a white pixel.
  Returns:
    the source with images u8[N h w 3], and the colours i32[N] of train and i32[M] of test images.
  Raises:
    ValueError: for images that are not grey, or a bias outside [1/k, 1].
  """
  num_colours = len(source.class_names)
  channels = source.train_images.shape[-1]
  if channels != 1:
    raise ValueError(f"colour_bias = {bias} needs grey images; these have {channels} channels.")
  if not 1 / num_colours <= bias <= 1:
    raise ValueError(
      f"colour_bias = {bias} must lie in [{1 / num_colours:.3g}, 1], from no bias among "
      f"{num_colours} classes to colour and class being one."
    )
  train = draw_colours(source.train_labels, num_colours, bias, (seed, 2))
  test = draw_colours(source.test_labels, num_colours, 1 / num_colours, (seed, 3))
  coloured = source._replace(
    train_images=colour_strokes(source.train_images, train, palette(num_colours), max_value),
    test_images=colour_strokes(source.test_images, test, palette(num_colours), max_value),
  )
  return coloured, train, test


def palette(num_colours: int) -> Float[np.ndarray, "k 3"]:
  """Colours f64[k 3] evenly around a circle, so that all are equally bright.

  Channel j of colour i is (1 + cos(2 pi (i/k - j/3))) / 2: the sum over channels, and that of
  squares, is the same for all.
  """
  angles = np.arange(num_colours)[:, None] / num_colours - np.arange(3)[None] / 3
  return (1 + np.cos(2 * np.pi * angles)) / 2


def colour_strokes(
  images: UInt8[np.ndarray, "N h w 1"],
  colours: Integer[np.ndarray, " N"],
  table: Float[np.ndarray, "k 3"],
  max_value: int,
) -> UInt8[np.ndarray, "N h w 3"]:
  """Each image times its colour, rounded; black stays black."""
  levels = np.round(np.arange(max_value + 1)[:, None, None] * table[None]).astype(np.uint8)
  return levels[images[..., 0], colours[:, None, None]]


def draw_colours(
  labels: Integer[np.ndarray, " N"], num_colours: int, bias: float, seed: Sequence[int]
) -> Integer[np.ndarray, " N"]:
  """With probability `bias` the colour of an example's class, else any other one alike, i32[N].

  The draw takes raw bits of a counter-based generator, so that it is the same everywhere.
  """
  bits = np.random.Philox(np.random.SeedSequence(seed)).random_raw((len(labels), 2))
  own, other = ((bits >> np.uint64(11)) / 2.0**53).T
  shift = 1 + np.floor(other * (num_colours - 1)).astype(np.int32)
  return np.where(own < bias, labels, (labels + shift) % num_colours).astype(np.int32)
