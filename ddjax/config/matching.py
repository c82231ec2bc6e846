"""The configs of DC, DSA, DM and IDC have this in common: arguments, and the evaluation."""

from typing import Any, Mapping

from ml_collections import ConfigDict

from ddjax.augment import siamese
from ddjax.config import groups
from ddjax.data.facts import get_facts
from ddjax.distillers.dsa import loops_of
from ddjax.evaluators.protocols import DSA

ARGUMENTS = dict(dataset="digits", ipc=1, seed=0, steps=0, width=0)
"""What may stand behind the colon, with its defaults; 0 steps or width take the table's."""


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
  recipe = dict(recipe)
  config = groups.base(method, args["dataset"])
  words = [f"width{args['width']}"] * bool(args["width"]) + ["smoke"] * args["smoke"]
  config.variant = "-".join(words)
  config.seed = args["seed"]
  facts = get_facts(args["dataset"])
  if facts.mean is not None:
    config.data.preprocessing = "published"  # the constants that rates and offsets were found with
  augmentation = recipe.pop("augmentation", DSA)
  if not facts.use_flip:
    augmentation = siamese.without_flip(augmentation)
  if args["steps"]:
    recipe["num_steps"] = args["steps"]
  if args["width"]:
    recipe["width"] = args["width"]
  if args["smoke"]:
    recipe["num_steps"] = 5
  config.update(
    groups.matching(
      ipc=args["ipc"], augmentation=augmentation, outer=outer, synthetic=synthetic, **recipe
    )
  )
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
