"""What configs of private methods share: the group `guarantee`, and nothing fitted on data."""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from ddjax.data.facts import get_facts


def make_private(
  config: ConfigDict, *, epsilon: float, clip_norm: float, delta: float = 1e-5
) -> ConfigDict:
  """The config with a guarantee of differential privacy.

  Images begin as noise, and are preprocessed by published constants, or not at all.

  Args:
    config: of the run; changed and returned.
    epsilon: wanted, for every set by itself.
    clip_norm: C, of what one example contributes to an update.
    delta: wanted.
  """
  config.guarantee = ConfigDict(
    dict(
      epsilon=epsilon,
      delta=delta,
      clip_norm=clip_norm,
      noise_seed=placeholder(int),  # a secret of 64 bits; None: the noise is that of `seed`
    )
  )
  config.data.preprocessing = "none" if get_facts(config.data.name).mean is None else "published"
  config.synthetic.init = "noise"
  words = [word for word in config.variant.split("-") if word]
  config.variant = "-".join([f"eps{epsilon:g}", *words])
  return config
