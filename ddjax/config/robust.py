"""What configs of robust methods share: the group `robust`, and an audit by attacks."""

from typing import Callable

from ml_collections import ConfigDict

from ddjax.config import arguments

_EPSILON = 8 / 255
_WORDS = dict(epsilon=_EPSILON, attack_steps=10)


def robust(epsilon: float, num_steps: int) -> ConfigDict:
  """The adversary that moves real images before the set learns from them."""
  return ConfigDict(
    dict(
      epsilon=epsilon,  # radius of its l_inf ball, in pixels from 0 to 1
      num_steps=num_steps,  # of signed gradient, from a random point of the ball
      relative_step=0.25,  # over epsilon; Madry et al. 2018: 2/255 at 8/255
    )
  )


def make_robust(method: str, get_base: Callable[[str], ConfigDict], arg: str | None) -> ConfigDict:
  """The config of a robust method from that of the method that it is a form of.

  Args:
    method: name in `ddjax.registry.DISTILLERS`.
    get_base: `get_config` of the other method's file.
    arg: the text behind the colon, with the words `epsilon=` and `attack_steps=` besides.
  """
  own, rest = arguments.split_words(arg, _WORDS)
  args = arguments.parse_argument(own, dict(dataset="") | _WORDS)
  config = get_base(rest)
  config.method = method
  words = [f"eps{args['epsilon']:.3g}", f"k{args['attack_steps']}", config.variant]
  config.variant = "-".join(filter(None, words))
  config.robust = robust(args["epsilon"], args["attack_steps"])
  config.evaluators = (*config.evaluators, "robustness")
  return config
