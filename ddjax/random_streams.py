"""Named streams of random numbers, all from the one seed of the config."""

import zlib

import jax
import jax.numpy as jnp

from ddjax.types import Array


def stream(seed: int | Array, name: str) -> Array:
  """The key of the stream `name`; streams of one seed are independent of each other."""
  return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


def replica_streams(seed: int, num_replicas: int, name: str) -> Array:
  """Keys[r] of the stream `name` for the seeds `seed` to `seed + r - 1`."""
  seeds = jnp.arange(seed, seed + num_replicas)
  return jax.vmap(lambda one: stream(one, name))(seeds)
