"""Convolution and pooling in the form that is fast on the backend at hand.

XLA's CPU backend has a fast convolution, but takes it only for operands in one order of axes
(images [b h w c], kernels [s s c o]). Outside loops the compiler reorders the others; inside
compiled loops it does not, and the gradients, whose operands automatic differentiation leaves in
other orders, run up to a hundred times slower. `conv_ordered` therefore writes the gradient of the
images as a convolution in that order, and that of the kernel as products of matrices. `vmap` over
networks would make grouped convolutions, which are slow too; there the networks are taken one after
another, or, where they are small, as one batched product of patches. On accelerators XLA's own
convolution is fast for one network, and grouped for several (`ddjax.backend` says which form is
taken where).
"""

import functools
from typing import cast

import jax
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.custom_batching import custom_vmap
import jax.numpy as jnp
from jaxtyping import Float

from ddjax.backend import traits
from ddjax.types import Array

CHECKPOINT_NAME = "convolution"
"""Of what convolutions and their gradients give, for a policy of `jax.checkpoint` to keep."""


def conv(
  x: Float[Array, "b h w c"], kernel: Float[Array, "s s c o"], padding: int, stride: int = 1
) -> Float[Array, "b y x o"]:
  """Convolution (cross-correlation, as in every network library).

  All forms, and their gradients of first and second order, are equal to rounding. It has no
  forward-mode derivative.

  Args:
    x: f32[b h w c]; or bf16, to which then the kernel and the result are rounded too, and in the
      gradient the cotangents. Sums are f32.
    kernel: f32[s s c o].
    padding: zeros added on each side.
    stride: pixels from one window to the next.
  Returns:
    f32 or bf16 [b y x o], y = (h + 2 padding - s) // stride + 1, x likewise.
  """
  x, kernel = jnp.asarray(x), jnp.asarray(kernel)
  if x.dtype == jnp.bfloat16:
    kernel = kernel.astype(jnp.bfloat16)
    if not traits().has_bfloat16:
      wide = conv(x.astype(jnp.float32), kernel.astype(jnp.float32), padding, stride)
      return wide.astype(jnp.bfloat16)
  if traits().convolution == "primitive":
    return conv_primitive(x, kernel, padding, stride)
  if stride == 1 and x.dtype == jnp.float32:
    return conv_ordered(x, kernel, padding)
  return conv_patches(x, kernel, padding, stride)


def conv_patches(x: Array, kernel: Array, padding: int, stride: int = 1) -> Array:
  """`conv` as one product of the patch matrix [b y x, s s c] with the kernel."""
  patches = _patches(x, kernel.shape[0], padding, stride)
  return patches @ kernel.reshape(-1, kernel.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv_primitive(x: Array, kernel: Array, padding: int, stride: int = 1) -> Array:
  """`conv` through XLA's convolution.

  Its gradients are those that JAX would take, written out: within a program for several devices
  JAX's own say where their result lies, and a convolution that does cannot be vmapped twice with
  one operand shared (NotImplementedError, JAX 0.10.2). Replicas that share their draws ask for it.
  """
  pads = [(padding, padding)] * 2
  return lax.conv_general_dilated(
    x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


def _primitive_forward(x, kernel, padding, stride):
  y = conv_primitive(x, kernel, padding, stride)
  return checkpoint_name(y, CHECKPOINT_NAME), (x, kernel)


def _primitive_backward(padding, stride, saved, cotangent):
  x, kernel = saved
  return (
    _images_primitive(cotangent, kernel, padding, stride, x.shape[1:3]),
    _kernel_primitive(x, cotangent, padding, stride, kernel.shape[0]),
  )


conv_primitive.defvjp(_primitive_forward, _primitive_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _images_primitive(cotangent, kernel, padding, stride, sides):
  """Gradient of <conv_primitive(x, kernel), cotangent> with respect to x f32[b sides c]."""
  size = kernel.shape[0]
  low = size - 1 - padding
  pads = [
    (low, side - (outputs - 1) * stride + padding - 1)
    for side, outputs in zip(sides, cotangent.shape[1:3], strict=True)
  ]
  return lax.conv_general_dilated(
    cotangent,
    kernel[::-1, ::-1],
    (1, 1),
    pads,
    lhs_dilation=(stride, stride),
    dimension_numbers=("NHWC", "HWOI", "NHWC"),
  )


def _images_forward(cotangent, kernel, padding, stride, sides):
  x = _images_primitive(cotangent, kernel, padding, stride, sides)
  return checkpoint_name(x, CHECKPOINT_NAME), (cotangent, kernel)


def _images_backward(padding, stride, sides, saved, x):
  cotangent, kernel = saved
  return (
    conv_primitive(x, kernel, padding, stride),
    _kernel_primitive(x, cotangent, padding, stride, kernel.shape[0]),
  )


_images_primitive.defvjp(_images_forward, _images_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _kernel_primitive(x, cotangent, padding, stride, size):
  """Likewise with respect to the kernel f32[size size c o]: batch and channels exchanged."""
  pads = [
    (padding, size + (outputs - 1) * stride - side - padding)
    for side, outputs in zip(x.shape[1:3], cotangent.shape[1:3], strict=True)
  ]
  return lax.conv_general_dilated(
    x,
    cotangent,
    (1, 1),
    pads,
    rhs_dilation=(stride, stride),
    dimension_numbers=("CHWN", "IHWO", "HWNC"),
  )


def _kernel_forward(x, cotangent, padding, stride, size):
  kernel = _kernel_primitive(x, cotangent, padding, stride, size)
  return checkpoint_name(kernel, CHECKPOINT_NAME), (x, cotangent)


def _kernel_backward(padding, stride, size, saved, kernel):
  x, cotangent = saved
  return (
    _images_primitive(cotangent, kernel, padding, stride, x.shape[1:3]),
    conv_primitive(x, kernel, padding, stride),
  )


_kernel_primitive.defvjp(_kernel_forward, _kernel_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv_ordered(x: Array, kernel: Array, padding: int) -> Array:
  """`conv` with stride 1, whose gradients are fast in compiled loops too."""
  return _over_networks(_conv, conv_patches, padding, by_row=True)(x, kernel)


def _conv_forward(x, kernel, padding):
  return checkpoint_name(conv_ordered(x, kernel, padding), CHECKPOINT_NAME), (x, kernel)


def _conv_backward(padding, saved, cotangent):
  x, kernel = saved
  return _input_gradient(cotangent, kernel, padding), kernel_gradient(x, cotangent, padding)


conv_ordered.defvjp(_conv_forward, _conv_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def kernel_gradient(x: Array, cotangent: Array, padding: int) -> Array:
  """Gradient of <conv(x, kernel), cotangent> with respect to the kernel, f32[s s c o].

  Args:
    x: f32[b h w c].
    cotangent: f32[b y x o].
    padding: of the convolution, stride 1.
  """
  return _over_networks(_kernel_gradient, _kernel_gradient_of_patches, padding)(x, cotangent)


def _kernel_gradient_forward(x, cotangent, padding):
  return checkpoint_name(kernel_gradient(x, cotangent, padding), CHECKPOINT_NAME), (x, cotangent)


def _kernel_gradient_backward(padding, saved, kernel):
  x, cotangent = saved
  return _input_gradient(cotangent, kernel, padding), conv_ordered(x, kernel, padding)


kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)


def _input_gradient(cotangent: Array, kernel: Array, padding: int) -> Array:
  """Gradient with respect to the images: a convolution with the turned kernel."""
  turned = kernel[::-1, ::-1].swapaxes(2, 3)
  padding = kernel.shape[0] - 1 - padding
  if padding < 0:  # windows wholly outside the images
    cotangent, padding = cotangent[:, -padding:padding, -padding:padding], 0
  return conv_ordered(cotangent, turned, padding)


def _conv(x: Array, kernel: Array, padding: int) -> Array:
  size, _, channels, outputs = kernel.shape
  if size * size * channels <= traits().patch_numbers:
    return conv_patches(x, kernel, padding)
  if size * size * outputs <= traits().patch_numbers:
    return _conv_of_products(x, kernel, padding)
  return conv_primitive(x, kernel, padding)


def _conv_of_products(x: Array, kernel: Array, padding: int) -> Array:
  """One product with the whole kernel, then a sum of shifted parts: for few output channels."""
  size, _, channels, outputs = kernel.shape
  products = x @ kernel.transpose(2, 0, 1, 3).reshape(channels, -1)
  products = jnp.pad(products, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  height, width = products.shape[1] - size + 1, products.shape[2] - size + 1
  parts = products.reshape(*products.shape[:3], size, size, outputs)
  shifted = [
    parts[:, i : i + height, j : j + width, i, j] for i in range(size) for j in range(size)
  ]
  return cast(Array, sum(shifted))


def _kernel_gradient(x: Array, cotangent: Array, padding: int) -> Array:
  """One product for each row of the kernel, with the windows of a row side by side.

  Where XLA's convolutions are fast in any order of axes, its own gradient.
  """
  size = x.shape[1] + 2 * padding - cotangent.shape[1] + 1
  if traits().has_fast_gradients:
    return _kernel_primitive(x, cotangent, padding, 1, size)
  height, width, outputs = cotangent.shape[1:]
  x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  windows = jnp.concatenate([x[:, :, j : j + width] for j in range(size)], axis=-1)
  cotangent = cotangent.reshape(-1, outputs)
  rows = [
    windows[:, i : i + height].reshape(-1, windows.shape[-1]).T @ cotangent for i in range(size)
  ]
  return jnp.stack(rows).reshape(size, size, -1, outputs)


def _kernel_gradient_of_patches(x: Array, cotangent: Array, padding: int) -> Array:
  """As one product of the patch matrix with the cotangent."""
  size = x.shape[1] + 2 * padding - cotangent.shape[1] + 1
  channels, outputs = x.shape[-1], cotangent.shape[-1]
  patches = _patches(x, size, padding).reshape(-1, size * size * channels)
  return (patches.T @ cotangent.reshape(-1, outputs)).reshape(size, size, channels, outputs)


def _over_networks(fn, small_fn, padding: int, by_row: bool = False):
  """`fn` of two arrays, with a rule of its own for a leading axis of networks.

  `by_row` says that it maps each row of the first array by the whole second one: under one kernel
  several batches are one larger batch.
  """
  fn, small_fn = (functools.partial(form, padding=padding) for form in (fn, small_fn))
  mapped = custom_vmap(fn)

  @mapped.def_vmap
  def rule(axis_size, in_batched, x, other):
    if by_row and not in_batched[1]:
      y = mapped(x.reshape(-1, *x.shape[2:]), other)
      return y.reshape(axis_size, -1, *y.shape[1:]), True
    arrays = tuple(
      array if is_batched else jnp.broadcast_to(array, (axis_size, *array.shape))
      for array, is_batched in zip((x, other), in_batched)
    )
    if axis_size == 1:
      return mapped(*(array[0] for array in arrays))[None], True
    if arrays[0][0].size <= traits().batched_values:
      return jax.vmap(small_fn)(*arrays), True
    return lax.map(lambda pair: mapped(*pair), arrays), True

  return mapped


def _patches(x: Array, size: int, padding: int, stride: int = 1) -> Array:
  """Windows side by side, [b y x, s s c]."""
  x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  height, width = x.shape[1] - size + 1, x.shape[2] - size + 1
  windows = [
    x[:, i : i + height : stride, j : j + width : stride] for i in range(size) for j in range(size)
  ]
  return jnp.concatenate(windows, axis=-1)


def average_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b y x c"]:
  """Means over 2x2 windows, f32[b h w c] -> f32[b h//2 w//2 c]; an odd last row is cut."""
  b, h, w, c = x.shape
  return x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))
