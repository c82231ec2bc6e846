"""Every method that trains networks takes steps with networks of other kinds, at 32 x 32 pixels."""

import jax
import numpy as np
import pytest

from ddjax.api import get_config
from ddjax.io.distilled import find_distilled, load_distilled
from ddjax.tasks import distill
from tests.own_sizes_test import CHANGES, COMMON, known_fields

_NUM_STEPS = 3
_NETWORKS = {"vgg11": 8, "resnet18": 8, "vit": 16}
"""{name: width}; the published widths take the same programs longer."""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
  rng = np.random.default_rng(0)
  labels = np.repeat(np.arange(2), 12)
  images = rng.integers(0, 156, (24, 32, 32, 3)) + 100 * labels[:, None, None, None]
  path = tmp_path_factory.mktemp("images") / "own.npz"
  np.savez(path, images=images.astype(np.uint8), labels=labels)
  return path


@pytest.mark.slow
@pytest.mark.parametrize("network", _NETWORKS)
@pytest.mark.parametrize("method", ["dc", "dsa", "dm", "idc", "mtt", "ncfm", "frepo"])
def test_three_steps(tmp_path, images, method, network):
  config = get_config(f"configs/{method}.py:npz")
  changes = COMMON | CHANGES[method] | {"outer.num_steps": _NUM_STEPS}
  changes |= {"network.name": network, "network.width": _NETWORKS[network]}
  if (method, network) == ("idc", "vit"):  # refused otherwise: it has no convolution to match
    changes |= {"matching.only_convolutions": False}
  config.update_from_flattened_dict(
    known_fields(config, changes) | {"data.path": str(images), "synthetic.ipc": 1}
  )
  distill.run(config, tmp_path / "run")
  distilled = load_distilled(find_distilled(tmp_path / "run"))
  assert distilled.info["step"] == _NUM_STEPS
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(distilled.images))
  rate = distilled.info.get("learning_rate")
  assert rate is None or 0 < rate < np.inf
  assert (method == "mtt") == (rate is not None)
