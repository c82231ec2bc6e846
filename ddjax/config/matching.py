"""What the configs of methods with networks have in common: arguments, and the evaluation.

These are DC, DSA, DM, IDC, MTT and FRePo.
"""

import functools
from typing import Any, Callable, Mapping

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from ddjax.augment import siamese
from ddjax.config import groups
from ddjax.config.loops import loops_of
from ddjax.data.facts import get_facts

ARGUMENTS = dict(dataset="digits", ipc=1, seed=0, steps=0, width=0)
"""What may stand behind the colon, with its defaults; 0 steps or width take the table's."""

_QUICK_KERNELS = ("digits", "fake")
"""Data sets on which kernel regression takes under a second: there it is a second opinion on what
methods without a kernel made; elsewhere `--config.evaluators` asks for it."""


def make_config(
  method: str,
  args: Mapping[str, Any],
  recipe: Mapping[str, Any],
  *,
  outer: dict[str, Any],
  synthetic: dict[str, Any] | None = None,
  protocol: str = "dc",
) -> ConfigDict:
  """A config from its table's row: the run, `groups.matching`, and an evaluation at equal width.

  Args:
    method: name in `ddjax.registry.DISTILLERS`.
    args: as parsed, with the names of `ARGUMENTS` and the flag `smoke`.
    recipe: num_steps, learning_rate, real_batch_size, width; and augmentation (default that of DSA;
      flips are left out where the data set has none), init, and network (default convnet).
    outer: further fields of the group `outer`.
    synthetic: further fields of the group `synthetic`.
    protocol: of the evaluation.
  """
  recipe = with_augmentation(args["dataset"], recipe)
  groups_of = functools.partial(groups.matching, outer=outer, synthetic=synthetic)
  return with_evaluation(groups_of, method, args, recipe, protocol)


def make_trajectory_config(args: Mapping[str, Any], recipe: Mapping[str, Any]) -> ConfigDict:
  """A config of MTT: the run, `groups.trajectories`, and an evaluation at equal width.

  Args:
    args: as parsed, with the names of `ARGUMENTS`, the flag `smoke`, and `experts`.
    recipe: a row of the table: arguments of `groups.trajectories`; `zca`, whether images are
      whitened as in the paper; `loop`, fields of the group `trainer`.
  """
  recipe = with_augmentation(args["dataset"], recipe)
  is_white, loop = recipe.pop("zca"), recipe.pop("loop")
  if args["smoke"]:
    recipe |= dict(num_experts=2, max_start_epoch=1, expert_epochs=1, student_steps=3, width=8)
  if args["experts"]:
    recipe["num_experts"] = args["experts"]
  config = with_evaluation(groups.trajectories, "mtt", args, recipe, "mtt")
  config.trainer.update(loop)
  if is_white:
    config.data.preprocessing = "zca_kornia"
  return config


def make_experts_config(args: Mapping[str, Any], recipe: Mapping[str, Any]) -> ConfigDict:
  """A config that trains the experts of MTT's, and no more; see `make_trajectory_config`.

  Args:
    args: likewise, and `epochs`; 0 for as many as the row needs.
    recipe: likewise.
  """
  config = make_trajectory_config(args, recipe)
  config.task = "experts"
  config.method = "experts"
  config.experts.seed = args["seed"]
  if args["epochs"]:  # these alone, whatever the row needs
    config.outer.update(dict(max_start_epoch=1, expert_epochs=args["epochs"]))
  return config


def make_feature_config(args: Mapping[str, Any], recipe: Mapping[str, Any]) -> ConfigDict:
  """A config of FRePo: the run, `feature_regression`, and an evaluation at equal width.

  Args:
    args: as parsed, with the names of `ARGUMENTS` and the flag `smoke`.
    recipe: a row of the table: arguments of `feature_regression`; `evaluation_network`, a name;
      `is_white`, whether images are whitened as in the paper.
  """
  recipe = dict(recipe)
  evaluation_network, is_white = recipe.pop("evaluation_network"), recipe.pop("is_white")
  facts = get_facts(args["dataset"])
  is_colour = facts.image_shape is None or facts.image_shape[-1] > 1
  recipe["use_flips"] = facts.use_flip and is_colour
  if args["smoke"]:
    recipe["target_batch_size"] = min(recipe["target_batch_size"], 256)
  config = with_evaluation(feature_regression, "frepo", args, recipe, "frepo")
  if is_white:
    config.data.preprocessing = "zca_frepo"
  config.accuracy_evaluation.update(dict(networks=(evaluation_network,), feature_ridge=1e-6))
  return config


def feature_regression(
  *,
  ipc: int,
  num_steps: int,
  learning_rate: float,
  target_batch_size: int,
  num_networks: int,
  network: str,
  width: int,
  use_flips: bool,
) -> ConfigDict:
  """FRePo's own groups, and the kernel of its reports.

  Args:
    ipc: images per class.
    num_steps: updates of images and labels.
    learning_rate: of LAMB, of both.
    target_batch_size: real examples a step.
    num_networks: of the pool.
    network: of the pool, by name.
    width: of it.
    use_flips: whether each prototype enters the regression a second time, mirrored.
  """
  return ConfigDict(
    dict(
      synthetic=dict(
        ipc=ipc,
        init="real",  # real, noise, kmeans, saved
        init_from=placeholder(str),  # for "saved": a run folder, a `distilled` folder, or an npz
        learn_labels=True,
        use_flips=use_flips,  # whether each prototype enters the regression mirrored too
      ),
      network=dict(
        name=network,  # may carry options: "frepo_convnet(norm=none)"
        width=width,  # where the name has none; 0: its published width
      ),
      pool=dict(
        num_networks=num_networks,
        online_steps=100,  # K: a network that has made more updates begins anew
        learning_rate=3e-4,  # of Adam, on the squared error
        batch_size=500,  # prototypes of an update, at most
      ),
      ridge=1e-6,  # relative to the mean diagonal of the kernel; of the kernel of reports too
      outer=dict(
        num_steps=num_steps,
        learning_rate=learning_rate,
        schedule="cosine",  # to a tenth; or constant
        target_batch_size=target_batch_size,  # over all devices; 0: up to 1024
      ),
      kernel=groups.kernel(),
    )
  )


def with_augmentation(dataset: str, recipe: Mapping[str, Any]) -> dict[str, Any]:
  """The recipe with a siamese augmentation, DSA's unless it names one, flips where they may be."""
  augmentation = recipe.get("augmentation", siamese.DSA)
  if not get_facts(dataset).use_flip:
    augmentation = siamese.without_flip(augmentation)
  return {**recipe, "augmentation": augmentation}


def with_evaluation(
  make_groups: Callable[..., ConfigDict],
  method: str,
  args: Mapping[str, Any],
  recipe: dict[str, Any],
  protocol: str,
) -> ConfigDict:
  """The run, the method's groups, and an evaluation by networks like the one that is matched.

  Args:
    make_groups: (ipc=, augmentation=, and the rest of the recipe) -> the method's groups.
    method: name in `ddjax.registry.DISTILLERS`.
    args: as parsed, with the names of `ARGUMENTS` and the flag `smoke`.
    recipe: num_steps and width at least; augmentation from `with_augmentation`.
    protocol: of the evaluation.
  """
  config = groups.base(method, args["dataset"])
  words = [f"width{args['width']}"] * bool(args["width"]) + ["smoke"] * args["smoke"]
  config.variant = "-".join(words)
  config.seed = args["seed"]
  if get_facts(args["dataset"]).mean is not None:
    config.data.preprocessing = "published"  # the constants that rates and offsets were found with
  if args["steps"]:
    recipe["num_steps"] = args["steps"]
  if args["width"]:
    recipe["width"] = args["width"]
  if args["smoke"]:
    recipe["num_steps"] = 5
  config.update(make_groups(ipc=args["ipc"], **recipe))
  if args["dataset"] not in _QUICK_KERNELS:
    config.evaluators = ("accuracy",)
  config.curve = groups.curve("networks")
  evaluation = config.accuracy_evaluation
  network = recipe.get("network", "convnet")
  evaluation.networks, evaluation.width = (network,), recipe["width"]
  evaluation.protocol = protocol
  if args["smoke"]:
    config.data.max_train_examples = 2000
    config.curve.update(dict(num_test=500, num_epochs=20))
    evaluation.num_epochs = 20
  return config


def make_gradient_config(
  method: str, args: Mapping[str, Any], recipe: Mapping[str, Any]
) -> ConfigDict:
  """A config of DC or DSA: `make_config` with their loops and their distance.

  Args:
    method: dc or dsa.
    args: as parsed.
    recipe: as in `make_config`, with num_networks for num_steps.
  """
  recipe = dict(recipe)
  recipe["num_steps"] = recipe.pop("num_networks") * loops_of(args["ipc"])[0]
  outer = dict(
    outer_loop=0,  # updates of the images a network; 0: the released ones of the ipc
    inner_loop=0,  # epochs of training between them; likewise
    network_learning_rate=0.01,
    network_batch_size=256,
  )
  config = make_config(method, args, recipe, outer=outer)
  config.matching = ConfigDict(dict(distance="cosine", only_convolutions=False))
  return config
