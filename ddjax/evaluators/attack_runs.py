"""One attack on many networks and images: compiled once for each attack and kind of network.

An attack is made of a *form*, what is compiled, and *settings*, arrays that it takes: PGD at every
epsilon, at twice the steps, FGSM and the look at images as they are share one program.
"""

import functools
import math
import operator
from typing import Any, Callable, Mapping, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from ddjax.attacks import norms, objectives
from ddjax.attacks.apgd import apgd
from ddjax.attacks.carlini_wagner import carlini_wagner
from ddjax.attacks.deepfool import deepfool
from ddjax.attacks.gradient import Ascent, ascend
from ddjax.attacks.square import square
from ddjax.backend import traits
from ddjax.models.pieces import map_each
from ddjax.types import Array, Models

_HOST_STREAM = 0x686F7374
_APGD_OBJECTIVES = ("cross_entropy", "dlr", "targeted_dlr")
_LEAST_CLASSES = {"apgd_dlr": 3, "apgd_t": 4}

BALLS = ("linf", "l2")
BOUNDED = ("fgsm", "pgd", "apgd_ce", "apgd_dlr", "apgd_t")
"""Attacks on a ball of either norm."""
ATTACKS = (
  *(f"{attack}_{norm}" for attack in BOUNDED for norm in BALLS),
  "square_linf",
  "deepfool",
  "carlini_wagner",
)
"""Every name that `robustness.attacks` may hold."""


class Trial(NamedTuple):
  """An attack as it is run.

  Attributes:
    form: (logits_fn, pixels, labels, rng, **settings) -> AttackResult.
    settings: arrays.
    num_copies: of an image that one look takes through the network.
  """

  form: Callable[..., Any]
  settings: dict[str, Any]
  num_copies: int = 1


class Outcome(NamedTuple):
  """What came of a trial, for each of m networks and T images.

  Attributes:
    is_fooled: bool[m T].
    num_gradients: i32[m T], as in `AttackResult`.
    num_forwards: i32[m T].
    distance: f32[m T], l2 norm of the perturbation; 0 where the image was not fooled.
  """

  is_fooled: np.ndarray
  num_gradients: np.ndarray
  num_forwards: np.ndarray
  distance: np.ndarray


class Forms(NamedTuple):
  """What is compiled, with the numbers that are known at trace time closed over."""

  ascend: dict[str, Callable]
  apgd: dict[str, Callable]
  square: Callable
  deepfool: Callable
  carlini_wagner: Callable


def make_forms(config: ConfigDict) -> Forms:
  """The forms by the group `robustness`.

  Raises:
    ValueError: for a count below 1.
  """
  for group in ("pgd", "apgd", "square", "deepfool", "carlini_wagner"):
    for field, value in config[group].items():
      if field.startswith("num_") and value < 1:
        raise ValueError(f"robustness.{group}.{field}={value} must be at least 1.")

  def apgd_by_index(logits_fn, pixels, labels, rng, *, norm, objective, **settings):
    objective = objectives.by_index(objective, _usable_objectives(logits_fn, pixels))
    settings |= dict(norm=norm, num_steps=config.apgd.num_steps, objective=objective)
    return apgd(logits_fn, pixels, labels, rng, **settings)

  return Forms(
    {norm: functools.partial(ascend, norm=norm) for norm in BALLS},
    {norm: functools.partial(apgd_by_index, norm=norm) for norm in BALLS},
    functools.partial(square, num_queries=config.square.num_queries),
    functools.partial(deepfool, **config.deepfool.to_dict()),
    functools.partial(carlini_wagner, **config.carlini_wagner.to_dict()),
  )


def make_trial(forms: Forms, config: ConfigDict, name: str, num_classes: int) -> Trial | str:
  """The trial of an attack by its name in `ATTACKS`, or the reason why there is none."""
  if name == "deepfool":
    return Trial(forms.deepfool, {}, min(config.deepfool.num_candidates, num_classes))
  if name == "carlini_wagner":
    return Trial(forms.carlini_wagner, {})
  attack, _, norm = name.rpartition("_")
  if num_classes < _LEAST_CLASSES.get(attack, 2):
    return f"{attack} needs {_LEAST_CLASSES[attack]} classes; there are {num_classes}"
  epsilon = np.float32(config[f"{norm}_255"] / 255)
  if attack == "square":
    return Trial(forms.square, {"epsilon": epsilon})
  if attack == "fgsm":
    return Trial(forms.ascend[norm], _ascent(epsilon, epsilon, 1, 1, 0.0))
  if attack == "pgd":
    return pgd_trial(forms, config, norm, epsilon)
  num_targets = min(config.apgd.num_targets, num_classes - 1)
  index = ("apgd_ce", "apgd_dlr", "apgd_t").index(attack)
  num_runs = num_targets if attack == "apgd_t" else config.apgd.num_restarts
  settings = {"epsilon": epsilon, "objective": np.int32(index), "num_runs": np.int32(num_runs)}
  return Trial(forms.apgd[norm], settings)


def pgd_trial(
  forms: Forms, config: ConfigDict, norm: str, epsilon: float | np.floating, **changes: int
) -> Trial:
  """PGD by the config, but for `num_steps` or `num_restarts` where they are given."""
  pgd = config.pgd.to_dict() | changes
  step = pgd["relative_step"] * epsilon
  settings = _ascent(epsilon, step, pgd["num_steps"], pgd["num_restarts"], epsilon)
  return Trial(forms.ascend[norm], settings)


def look_trial(forms: Forms) -> Trial:
  """No attack at all: what is misclassified as it is."""
  return Trial(forms.ascend["linf"], _ascent(0.0, 0.0, 0, 0, 0.0))


def run_trial(
  trial: Trial,
  fits: Mapping[str, Models],
  pixels: np.ndarray,
  labels: np.ndarray,
  rng: Array,
  check_stop: Callable[[], None] = lambda: None,
) -> dict[str, Outcome]:
  """Runs an attack on every network of every set.

  Models of one `predict_fn` and size run in one program, whatever their set; the i-th network of
  each set sees the same draws.

  Args:
    trial: from `make_trial`.
    fits: {set: Models}.
    pixels: f32[T h w c] in [0, 1].
    labels: i32[T].
    rng: of the attack.
    check_stop: called between calls of a program; raises an error to stop.
  Returns:
    {set: Outcome}.
  """
  outcomes = {}
  alike = {name: (fit.predict_fn, _shapes(fit)) for name, fit in fits.items()}
  for kind in dict.fromkeys(alike.values()):
    predict_fn, _ = kind
    names = [name for name in fits if alike[name] == kind]
    params = jax.tree.map(
      lambda *leaves: jnp.concatenate(leaves), *(fits[name].params for name in names)
    )
    counts = [len(fits[name].group) for name in names]
    limits = fits[names[0]].images_at_once, fits[names[0]].passes_at_once
    at_once = min((limit for limit in limits if limit), default=None)
    size = min(len(pixels), max(1, at_once // trial.num_copies) if at_once else len(pixels))
    pieces = math.ceil(len(pixels) / size)
    rows = np.minimum(np.arange(pieces * size), len(pixels) - 1).reshape(pieces, size)
    order = np.concatenate([np.arange(count) for count in counts])
    rngs = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(rng, order)
    rngs = jax.vmap(functools.partial(jax.random.split, num=pieces))(rngs)
    examples = pixels[rows], labels[rows]
    runs = []
    step = traits().attacked_at_once or len(order)
    if limits[1]:
      step = min(step, max(1, limits[1] // (size * trial.num_copies)))
    for start in range(0, len(order), step):
      check_stop()
      own = jax.tree.map(operator.itemgetter(slice(start, start + step)), (params, rngs))
      run = _run(*own, examples, trial.settings, predict_fn=predict_fn, form=trial.form)
      runs.append(jax.device_get(run))  # waits, so that a stop can come in between
    run = jax.tree.map(lambda *parts: np.concatenate(parts)[:, : len(pixels)], *runs)
    ends = np.cumsum(counts)[:-1]
    parts = zip(*(np.split(leaf, ends) for leaf in run), strict=True)
    outcomes |= {name: Outcome(*part) for name, part in zip(names, parts, strict=True)}
  return {name: outcomes[name] for name in fits}


def _shapes(models: Models) -> tuple[tuple[int, ...], ...]:
  """Of one model's parameters: kernel predictors hold sets of unequal sizes."""
  return tuple(leaf.shape[1:] for leaf in jax.tree.leaves(models.params))


def as_seed(rng: Array) -> int:
  """A number from a key, for what is drawn on the host."""
  return int(jax.random.bits(jax.random.fold_in(rng, _HOST_STREAM), dtype=jnp.uint32))


@functools.partial(jax.jit, static_argnames=("predict_fn", "form"))
def _run(params, rngs, examples, settings, *, predict_fn, form) -> Outcome:
  """An Outcome of [q pieces*b]: of networks [q] by pixels [pieces b ...] and labels [pieces b]."""

  def of_network(params, rngs):
    def of_piece(pixels, labels, rng):
      result = form(functools.partial(predict_fn, params), pixels, labels, rng, **settings)
      distance: Any = jax.vmap(norms.l2_size)(result.adversarial - pixels)
      return Outcome(result.is_fooled, result.num_gradients, result.num_forwards, distance)

    return jax.lax.map(lambda piece: of_piece(*piece), (*examples, rngs))

  run = map_each(of_network, params, rngs)
  return jax.tree.map(lambda leaf: leaf.reshape(len(leaf), -1), run)


def _ascent(epsilon, step_size, num_steps, num_restarts, start_radius) -> dict[str, Any]:
  """Settings of `ascend`, each of one type, so that none of them compiles anew."""
  ascent = Ascent(
    epsilon=np.float32(epsilon),
    step_size=np.float32(step_size),
    num_steps=np.int32(num_steps),
    num_restarts=np.int32(num_restarts),
    start_radius=np.float32(start_radius),
  )
  return {"ascent": ascent}


def _usable_objectives(logits_fn: Callable, pixels: Array) -> tuple[str, ...]:
  """Those of APGD that so many classes allow; the others are never asked for."""
  num_classes = jax.eval_shape(logits_fn, pixels).shape[-1]
  return _APGD_OBJECTIVES[: max(1, min(3, num_classes - 1))]
