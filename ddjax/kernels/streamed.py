r"""Convolutions, ReLUs and the first pooling of a convolutional kernel, two rows at a time.

Two rows of one image meet all pixels of the other. With u and v patches of 3x3 pixels and a
constant for the bias, divided by their norms, correlations after the first convolution are

  c = <u, v>,

one matrix product. A convolution that follows needs the sum over equal shifts in both images: of
the other image, which lies flattened and padded, a shift is one constant offset; of this image the
last two rows are carried along. What two rows give is pooled before the next two are looked at.

The gradient walks backwards and computes two rows anew at a time.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ddjax.backend import traits
from ddjax.kernels.arccosine import kappa_0, kappa_1
from ddjax.types import Array

Kernels = tuple[Array, ...]
"""(K,) or (K, K + T), K the covariance and T the tangent kernel."""
Side = tuple[Array, tuple[Array, ...]]
"""Patches f[h w d] of an image, and deviations f[h w] before each ReLU."""


class Affine(NamedTuple):
  """Variances of a convolution's weights and bias."""

  weight: float
  bias: float


class Form(NamedTuple):
  """What is known before the numbers: the layers' variances, what is wanted, equal images."""

  affine: Affine
  has_tangent: bool
  is_same: bool


def flat(grid: Array, num_axes: int = 0) -> Array:
  """f[... h w k] flattened from axis `num_axes` on, over h and w, with two zeros at the end.

  With them the rows inside, taken w at a time, stay within the array under all shifts.
  """
  shape = (*grid.shape[:num_axes], -1, *grid.shape[num_axes + 2 :])
  padding = [(0, 2 if axis == num_axes else 0) for axis in range(len(shape))]
  return jnp.pad(grid.reshape(shape), padding)


def wide(grid: Array, fill: float) -> Array:
  """f[h w] as f[h(w+2)], two columns of `fill` at the end of each row."""
  return jnp.pad(grid, ((0, 0), (0, 2)), constant_values=fill).reshape(-1)


def same_pixel(pixels1: Array, pixels2: Array) -> Array:
  """bool[... n], where the numbers of the pixels agree."""
  return pixels1[..., None] == jnp.expand_dims(pixels2, range(pixels1.ndim))


def _outer(first: Array, second: Array) -> Array:
  """f[...] and f[n] as f[... n]."""
  return first[..., None] * jnp.expand_dims(second, range(first.ndim))


def conv_relu(affine, rows, deviation1: Array, deviation2: Array, step: int, own) -> Kernels:
  """A convolution and a ReLU on rows.

  Args:
    affine: variances of the convolution.
    rows: three lists of kernels f[... w+2 l]: the rows above, of and below those wanted.
    deviation1: f[... w], of the pixels of one image.
    deviation2: f[n] of the other's, `wide`.
    step: w+2 of the other image.
    own: bool[... w n] where both pixels are the same one, or None.
  Returns:
    kernels f[... w n].
  """

  def window(index: int) -> Array:
    return _window_sum(step, *(row[index] for row in rows)) * (affine.weight / 9) + affine.bias

  scale = _outer(deviation1, deviation2)
  # A division, which XLA does not compute twice, keeps it from summing the shifts anew below.
  cosine = window(0) / scale
  tangent = window(1) if len(rows[0]) > 1 else None
  return _relu(cosine, scale, tangent, own)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _window_sum(step: int, above: Array, middle: Array, below: Array) -> Array:
  """The sum over 3x3 equal shifts in both images, rows f[... w+2 l] to f[... w n]."""
  width, num = above.shape[-2] - 2, above.shape[-1] - 2 * step - 2
  total: Any = sum(
    row[..., j : j + width, i * step + j : i * step + j + num]
    for i, row in enumerate((above, middle, below))
    for j in range(3)
  )
  return total


def _window_sum_forward(step: int, *rows: Array):
  return _window_sum(step, *rows), None


def _window_sum_backward(step: int, _, cotangent: Array) -> tuple[Array, ...]:
  """The same sums over the cotangent with zeros around it, as slices."""
  width, num = cotangent.shape[-2] + 2, cotangent.shape[-1] + 2 * step + 2
  far = 2 * step + 2
  padding = [(0, 0)] * (cotangent.ndim - 2) + [(2, 2), (far, far)]
  padded = jnp.pad(cotangent, padding)
  totals: Any = [
    sum(
      padded[..., 2 - j : 2 - j + width, far - i * step - j : far - i * step - j + num]
      for j in range(3)
    )
    for i in range(3)
  ]
  return tuple(totals)


_window_sum.defvjp(_window_sum_forward, _window_sum_backward)


def _relu(cosine: Array, scale: Array, tangent: Array | None, own: Array | None) -> Kernels:
  """The kernels after a ReLU; `tangent` is the tangent kernel before it."""
  if own is not None:
    cosine = jnp.where(own, 1.0, cosine)
  kernel = scale * kappa_1(cosine)
  return (kernel,) if tangent is None else (kernel, kernel + tangent * kappa_0(cosine))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def first_stage(form: Form, side1: Side, side2: Side) -> Kernels:
  """From patches to the covariances after the first pooling.

  Args:
    form: static.
    side1, side2: patches and deviations of two images of one shape; one deviation for each pair of
      convolution and ReLU.
  Returns:
    f[h//2 w//2 h//2 w//2] each: the mean over 2x2 pixels of both images, an odd last row or column
    dropped.
  """
  marks, num_early = _marks(side1), _num_early(side1)

  def step(carry, rows):
    return _step(form, carry, rows[0], rows[1], whole)

  whole = _whole(side2)
  pooled = jax.lax.scan(step, _no_rows(form, marks, whole), (_rows(side1), marks))[1]
  return tuple(kernel[num_early:] for kernel in pooled)


def _forward(form: Form, side1: Side, side2: Side):
  return first_stage(form, side1, side2), (side1, side2)


def _backward(form: Form, sides: tuple[Side, Side], cotangents: Kernels):
  """Backwards through the rows; what a step was carried, the steps before it compute anew."""
  side1, side2 = sides
  num_convs, num_early = len(side1[1]), _num_early(side1)
  whole, pull_whole = jax.vjp(_whole, side2)
  rows, pull_rows = jax.vjp(_rows, side1)
  marks = _marks(side1)
  before = _rows(side1, num_more=num_convs - 1), _marks(side1, num_more=num_convs - 1)
  num_steps = rows.patches.shape[0]
  before = [
    jax.tree.map(lambda leaf, start=start: leaf[start : start + num_steps], before)
    for start in range(num_convs - 1)
  ]
  cotangents = tuple(jnp.pad(each, [(num_early, 0)] + [(0, 0)] * 3) for each in cotangents)

  def step(carry, inputs):
    later_rows, total = carry
    earlier, (rows, marks), pooled = inputs
    carried = _no_rows(form, marks, whole)
    for each in earlier:
      carried = _step(form, carried, each[0], each[1], whole, is_anew=True)[0]
    pull = jax.vjp(
      lambda carried, rows, whole: _step(form, carried, rows, marks, whole, is_anew=True),
      carried,
      rows,
      whole,
    )
    earlier_rows, own, more = pull[1]((later_rows, pooled))
    return (earlier_rows, jax.tree.map(jnp.add, total, more)), own

  zeros = jax.tree.map(jnp.zeros_like, (_no_rows(form, marks, whole), whole))
  inputs = (before, (rows, marks), cotangents)
  (_, total), own = jax.lax.scan(step, zeros, inputs, reverse=True)
  return *pull_rows(own), *pull_whole(total)


first_stage.defvjp(_forward, _backward)


class _Rows(NamedTuple):
  """Two rows of an image, or of each step two; zero or, of later deviations, one outside it."""

  patches: Array
  scale: Array
  deviations: tuple[Array, ...]


class _Marks(NamedTuple):
  """Of the same rows, what has no gradient.

  Attributes:
    first: numbers of the pixels before the first ReLU, below 0 outside the image.
    later: the same before each later ReLU.
    transposed: the patches again, f[... d w].
  """

  first: Array
  later: tuple[Array, ...]
  transposed: Array


class _Whole(NamedTuple):
  """All pixels of the other image: patches f[d l], scale f[l], later deviations f[h(w+2)]."""

  patches: Array
  scale: Array
  deviations: tuple[Array, ...]


def _num_early(side: Side) -> int:
  """Steps before the one that gives the first pooled row."""
  return len(side[1]) // 2


def _take(grid: Array, layer: int, num_convs: int, num_more: int, fill: float) -> Array:
  """The two rows that each step gives of a layer, f[steps 2 w ...].

  Step t gives rows 2t and 2t + 1 of the last layer and, of each layer before, one row further on.
  """
  height = grid.shape[0]
  start = -2 * (num_convs // 2 + num_more) + num_convs - 1 - layer
  num_rows = 2 * (num_convs // 2 + num_more + height // 2)
  padding = [(max(0, -start), max(0, start + num_rows - height))] + [(0, 0)] * (grid.ndim - 1)
  padded = jnp.pad(grid, padding, constant_values=fill)
  rows = jax.lax.slice_in_dim(padded, max(0, start), max(0, start) + num_rows)
  return rows.reshape(-1, 2, *grid.shape[1:])


def _margin(side: Side) -> int:
  """Columns beside the image that a convolution after the first one wants."""
  return 1 if len(side[1]) > 1 else 0


def _columns(grid: Array, margin: int, fill: float = 0.0) -> Array:
  padding = [(0, 0), (margin, margin)] + [(0, 0)] * (grid.ndim - 2)
  return jnp.pad(grid, padding, constant_values=fill)


def _rows(side: Side, num_more: int = 0) -> _Rows:
  """Of every step, and of `num_more` steps before the first."""
  patches, deviations = side
  take = functools.partial(_take, num_convs=len(deviations), num_more=num_more)
  margin = _margin(side)
  return _Rows(
    take(_columns(patches, margin), 0, fill=0.0),
    take(_columns(deviations[0], margin), 0, fill=0.0),
    tuple(take(grid, layer + 1, fill=1.0) for layer, grid in enumerate(deviations[1:])),
  )


def _marks(side: Side, num_more: int = 0) -> _Marks:
  take = functools.partial(_take, num_convs=len(side[1]), num_more=num_more, fill=-2)
  height, width = side[1][0].shape
  pixels = jnp.arange(height * width).reshape(height, width)
  later = (take(pixels, layer + 1) for layer in range(len(side[1]) - 1))
  transposed = _rows(side, num_more).patches.swapaxes(-1, -2)
  return _Marks(take(_columns(pixels, _margin(side), -2), 0), tuple(later), transposed)


def _whole(side: Side) -> _Whole:
  patches, deviations = side
  num_values = patches.shape[-1]
  if len(deviations) == 1:
    return _Whole(patches.reshape(-1, num_values).T, deviations[0].reshape(-1), ())
  padded = jnp.pad(patches, ((1, 1), (1, 1), (0, 0)))
  return _Whole(
    flat(padded).T,
    flat(jnp.pad(deviations[0], 1)),
    tuple(wide(grid, fill=1.0) for grid in deviations[1:]),
  )


def _no_rows(form: Form, marks: _Marks, whole: _Whole):
  """What the first step is carried: of each layer but the last, two rows of zeros."""
  zeros = jnp.zeros((marks.first.shape[-1], whole.scale.shape[0]), whole.scale.dtype)
  row = (zeros,) * (1 + form.has_tangent)
  return ((row, row),) * len(whole.deviations)


def _step(form: Form, carried, rows: _Rows, marks: _Marks, whole: _Whole, is_anew: bool = False):
  """Two rows more of each layer, from the last two of the layer before it; and a pooled row."""
  margin = 1 if whole.deviations else 0
  width = marks.first.shape[-1] - 2 * margin
  step = width + 2 * margin
  height = (whole.scale.shape[0] - 2 * margin) // step - 2 * margin
  pixels = jnp.arange(height * width).reshape(height, width)
  found = []

  numbers = flat(jnp.pad(pixels, 1, constant_values=-1)) if margin else pixels.reshape(-1)
  pair = []
  for row in range(2):
    cosine = _product(rows.patches[row], marks.transposed[row], whole.patches)
    if form.is_same:
      cosine = jnp.where(same_pixel(marks.first[row], numbers), 1.0, cosine)
    scale = _outer(rows.scale[row], whole.scale)
    pair.append(_relu(cosine, scale, scale * cosine if form.has_tangent else None, None))

  for layer, deviation2 in enumerate(whole.deviations):
    if is_anew:
      pair = [_written(kernels, marks) for kernels in pair]
    found.append(tuple(pair))
    four, pair = (*carried[layer], *pair), []
    for row in range(2):
      numbers = marks.later[layer][row]
      own = same_pixel(numbers, wide(pixels, fill=-1)) if form.is_same else None
      deviation1 = rows.deviations[layer][row]
      kernels = conv_relu(form.affine, four[row : row + 3], deviation1, deviation2, step, own)
      if layer + 1 < len(whole.deviations):
        is_inside = (numbers[0] >= 0).astype(cosine.dtype)
        kernels = tuple(is_inside * _with_margin(kernel, height, width) for kernel in kernels)
      pair.append(kernels)
  pooled = zip(*pair)
  return tuple(found), tuple(_pool_rows(rows, height, width, step) for rows in pooled)


def _written(kernels: Kernels, marks: _Marks) -> Kernels:
  """The same kernels, in memory where the backend would compute them anew for each shift.

  A branch that cannot be foreseen keeps them apart from what follows; a barrier does not.
  """
  if not traits().recomputes_shifts:
    return kernels
  is_true = marks.first[0, 0] < jnp.iinfo(jnp.int32).max
  return jax.lax.cond(is_true, lambda x: x, lambda x: jax.tree.map(jnp.zeros_like, x), kernels)


@jax.custom_vjp
def _product(left: Array, transposed: Array, right: Array) -> Array:
  """left @ right, whose gradient has no product with a transposed left side: XLA's CPU backend
  takes those few values by a loop that is 20 times slower.
  """
  return left @ right


def _product_forward(left: Array, transposed: Array, right: Array):
  return left @ right, (transposed, right)


def _product_backward(known, cotangent: Array):
  transposed, right = known
  return cotangent @ right.T, jnp.zeros_like(transposed), transposed @ cotangent


_product.defvjp(_product_forward, _product_backward)


def _with_margin(kernel: Array, height: int, width: int) -> Array:
  """f[w h(w+2)] as f[w+2 l]: zeros around both images."""
  inside = kernel.reshape(-1, height, width + 2)[..., :width]
  return flat(jnp.pad(inside, 1), num_axes=1)


def _pool_rows(rows: tuple[Array, Array], height: int, width: int, step: int) -> Array:
  """Two rows f[w h*step] as one row f[w//2 h//2 w//2], the mean over 2x2 pixels of both images."""
  half_height, half_width = height // 2, width // 2
  both = rows[0] + rows[1]
  columns = both[0 : 2 * half_width : 2] + both[1 : 2 * half_width : 2]
  # The other image's columns by a product of matrices: its neighbours lie side by side in memory.
  pairs = np.zeros((step, half_width))
  pairs[np.arange(2 * half_width), np.arange(2 * half_width) // 2] = 1 / 16
  products = columns.reshape(half_width * height, step) @ jnp.asarray(pairs, columns.dtype)
  products = products.reshape(half_width, height, half_width)[:, : 2 * half_height]
  return products.reshape(half_width, half_height, 2, half_width).sum(2)
