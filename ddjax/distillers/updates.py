"""One update of the synthetic set: optimisers of its own for images, labels and learning rate."""

from typing import Any, NamedTuple

from ml_collections import ConfigDict
import optax

from ddjax.types import Metrics, Synthetic
from ddjax.wording import nearest

SCHEDULES = ("constant", "cosine")


class Optimisers(NamedTuple):
  """Of the images; of the labels, and of the logarithm of the learning rate, where learned."""

  images: optax.GradientTransformation
  labels: optax.GradientTransformation | None = None
  log_learning_rate: optax.GradientTransformation | None = None

  def _present(self) -> dict[str, optax.GradientTransformation]:
    """{field of the synthetic set: its optimiser} of all that is learned."""
    return {name: one for name, one in self._asdict().items() if one is not None}

  def init(self, start: Synthetic) -> dict[str, Any]:
    """The optimisers' state, {field: state}."""
    return {name: one.init(getattr(start, name)) for name, one in self._present().items()}

  def update(
    self, gradients: Synthetic, state: dict[str, Any], current: Synthetic
  ) -> tuple[Synthetic, dict[str, Any], Metrics]:
    """One step of every optimiser.

    Args:
      gradients: of what is learned; other fields are not looked at.
      state: from `init` or an earlier update.
      current: the synthetic set.
    Returns:
      the new synthetic set, the new state, and the norms of the images' gradient and change.
    """
    state, new = dict(state), current
    for name, one in self._present().items():
      updates, state[name] = one.update(
        getattr(gradients, name), state[name], getattr(current, name)
      )
      new = new.replace(**{name: optax.apply_updates(getattr(current, name), updates)})
    metrics = {
      "gradient_norm": optax.tree.norm(gradients.images),
      "image_change": optax.tree.norm(new.images - current.images),
    }
    return new, state, metrics


def make_schedule(
  learning_rate: float, outer: ConfigDict, last_share: float = 0.0
) -> optax.Schedule:
  """Learning rate by step: constant, or a cosine over `outer.num_steps`.

  Args:
    learning_rate: at the start.
    outer: the group of the config, with `schedule` and `num_steps`.
    last_share: of the rate that a cosine ends with.
  Raises:
    ValueError: for an unknown schedule, with the nearest known one.
  """
  if outer.schedule not in SCHEDULES:
    raise ValueError(
      f"Unknown outer.schedule {outer.schedule!r}. {nearest(outer.schedule, SCHEDULES)}"
    )
  if outer.schedule == "constant":
    return optax.constant_schedule(learning_rate)
  return optax.cosine_decay_schedule(learning_rate, max(outer.num_steps, 1), alpha=last_share)
