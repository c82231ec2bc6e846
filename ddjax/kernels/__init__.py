"""Kernels between images, and ridge regression with them."""

from ddjax.kernels.make import Kernel, make_kernel

__all__ = ["Kernel", "make_kernel"]
