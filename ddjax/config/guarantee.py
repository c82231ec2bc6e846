"""What configs of private methods share: the group `guarantee`, and nothing fitted on data."""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from ddjax.data.facts import get_facts

_DELTA = 1e-5


def guarantee(epsilon: float, clip_norm: float, delta: float = _DELTA) -> ConfigDict:
  """Differential privacy of a distilled set for every real example that it was made of."""
  return ConfigDict(
    dict(
      epsilon=epsilon,  # wanted, of every set by itself; the noise is found for it
      delta=delta,  # wanted
      clip_norm=clip_norm,  # of what one example contributes to an update
      noise_seed=placeholder(int),  # a secret of 64 bits; None: the noise is that of `seed`
    )
  )


def make_private(config: ConfigDict, *, epsilon: float, clip_norm: float) -> ConfigDict:
  """The config with a guarantee of differential privacy.

  Images begin as noise, and are preprocessed by published constants, or not at all.

  Args:
    config: of the run; changed and returned.
    epsilon: see `guarantee`.
    clip_norm: likewise.
  """
  config.guarantee = guarantee(epsilon, clip_norm)
  config.data.preprocessing = "none" if get_facts(config.data.name).mean is None else "published"
  config.synthetic.init = "noise"
  words = [word for word in config.variant.split("-") if word]
  config.variant = "-".join([f"eps{epsilon:g}", *words])
  return config
