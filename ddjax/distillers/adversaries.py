"""The adversary of robust methods: where its images begin, and how they reach the networks.

An adversary moves pixels in [0, 1] by at most epsilon each. Whatever lies between pixels and the
predictor (standardisation, whitening, augmentation) belongs to what it attacks. It makes K steps of
signed gradient from a random point of the ball (Madry et al. 2018, arXiv 1706.06083): features as
distances have no gradient at the image itself.
"""

from typing import Callable, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from ddjax.attacks.gradient import ascend_signs
from ddjax.data.batches import standardise
from ddjax.fitting import train
from ddjax.types import Array, DatasetInfo, DataSplit

_EXPERT_STEPS = 10


class Adversary(NamedTuple):
  """What an adversary may do.

  Attributes:
    epsilon: radius of the l_inf ball, in pixels.
    num_steps: K.
    relative_step: size of a step over epsilon.
    max_value: the stored value of a white pixel.
  """

  epsilon: float
  num_steps: int
  relative_step: float
  max_value: int

  def pixels(self, data: DataSplit, index: Int[Array, "..."]) -> Float[Array, "... h w c"]:
    """Real images of these rows, as pixels in [0, 1]."""
    stored = data.images if data.pixels is None else data.pixels
    return stored[index].astype(jnp.float32) / self.max_value

  def to_network(
    self, pixels: Float[Array, "... h w c"], data: DataSplit
  ) -> Float[Array, "... h w c"]:
    """Pixels as the networks see them; differentiable."""
    if data.whitening is not None:
      return data.whitening.forward(pixels)
    return standardise(pixels * self.max_value, data)

  def attack(
    self,
    rng: Array,
    numbers: Int[Array, " b"],
    pixels: Float[Array, "b h w c"],
    loss_fn: Callable[[Array], Array],
  ) -> Float[Array, "b h w c"]:
    """The images moved to where the loss is high.

    Args:
      rng: one key, equal on all devices.
      numbers: i32[b], of the images among those of all devices, which their starts depend on.
      pixels: f[b h w c] in [0, 1].
      loss_fn: pixels f[b h w c] -> losses f[b].
    Returns:
      f[b h w c] in [0, 1], without a gradient.
    """

    def noise(number, image):
      own = jax.random.fold_in(rng, number)
      return jax.random.uniform(own, image.shape, image.dtype, -self.epsilon, self.epsilon)

    start = jnp.clip(pixels + jax.vmap(noise)(numbers, pixels), 0.0, 1.0)
    return ascend_signs(
      loss_fn,
      pixels,
      start,
      epsilon=self.epsilon,
      step_size=self.relative_step * self.epsilon,
      num_steps=self.num_steps,
    )


def read_adversary(config: ConfigDict, info: DatasetInfo) -> Adversary:
  """Reads and checks the group `robust`.

  Raises:
    ValueError: for an impossible setting, naming it.
  """
  robust = config.robust
  check_epsilon("robust.epsilon", robust.epsilon)
  if robust.num_steps < 1:
    raise ValueError(f"robust.num_steps={robust.num_steps} must be at least 1.")
  if not 0 < robust.relative_step <= 2:
    raise ValueError(f"robust.relative_step={robust.relative_step} must lie in (0, 2].")
  return Adversary(robust.epsilon, robust.num_steps, robust.relative_step, info.max_value)


def check_epsilon(field: str, epsilon: float) -> None:
  """Raises ValueError for a radius that is none in pixels, naming the field."""
  if not 0 < epsilon <= 1:
    raise ValueError(
      f"{field}={epsilon} must lie above 0 and up to 1: it is in pixels from 0 to 1, of which "
      "8/255 are 0.0314."
    )


def adversary_of(config: ConfigDict) -> train.Adversary | None:
  """Whom the experts of the group `experts` are trained against; None for images as they are.

  Raises:
    ValueError: for a radius or a count that is none, naming it, or where images are mixed.
  """
  experts = config.experts
  epsilon, num_steps = experts.get("adversarial_epsilon"), experts.get("adversarial_steps")
  if epsilon is None:
    return None
  check_epsilon("experts.adversarial_epsilon", epsilon)
  num_steps = _EXPERT_STEPS if num_steps is None else num_steps
  if num_steps < 1:
    raise ValueError(f"experts.adversarial_steps={num_steps} must be at least 1.")
  if experts.get("mix_probability"):
    raise ValueError(
      f"experts.adversarial_epsilon={epsilon} moves single images, and "
      f"experts.mix_probability={experts.mix_probability} mixes them: set one of them to none."
    )
  return train.Adversary(epsilon, num_steps)
