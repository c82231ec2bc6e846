"""One update of the synthetic set: optimisers of its own for images, labels and learning rate."""

from typing import Any, NamedTuple

import optax

from ddjax.types import Metrics, Synthetic


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
      updates, state[name] = one.update(getattr(gradients, name), state[name])
      new = new.replace(**{name: optax.apply_updates(getattr(current, name), updates)})
    metrics = {
      "gradient_norm": optax.tree.norm(gradients.images),
      "image_change": optax.tree.norm(new.images - current.images),
    }
    return new, state, metrics
