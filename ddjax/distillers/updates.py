"""One update of the synthetic set: its own optimiser for the images, and one for the labels."""

from typing import Any, NamedTuple

import optax

from ddjax.types import Metrics, Synthetic


class Optimisers(NamedTuple):
  """Of the images, and of the labels where they are learned (else None)."""

  images: optax.GradientTransformation
  labels: optax.GradientTransformation | None = None

  def init(self, start: Synthetic) -> dict[str, Any]:
    """The optimisers' state."""
    state = {"images": self.images.init(start.images)}
    if self.labels is not None:
      state["labels"] = self.labels.init(start.labels)
    return state

  def update(
    self, gradients: Synthetic, state: dict[str, Any], current: Synthetic
  ) -> tuple[Synthetic, dict[str, Any], Metrics]:
    """(new synthetic set, new state, norms of the images' gradient and of their change)."""
    state = dict(state)
    updates, state["images"] = self.images.update(gradients.images, state["images"])
    new = current.replace(images=optax.apply_updates(current.images, updates))
    if self.labels is not None:
      updates, state["labels"] = self.labels.update(gradients.labels, state["labels"])
      new = new.replace(labels=optax.apply_updates(current.labels, updates))
    metrics = {
      "gradient_norm": optax.tree.norm(gradients.images),
      "image_change": optax.tree.norm(new.images - current.images),
    }
    return new, state, metrics
