"""A data set as one npz file, for machines without TFDS or a network.

  python -m ddjax.main --config=configs/pack.py:cifar10 --workdir=FOLDER

writes FOLDER/cifar10.npz; `--config.data.data_dir=FOLDER`, or TFDS_DATA_DIR=FOLDER, reads it
wherever a folder of TFDS is read. The word behind the colon is the data set. Of a user's own folder
(`folder` with `--config.data.path=DIR`) the file is what `configs/kip.py:npz` reads.
"""

from ml_collections import ConfigDict

from ddjax.config import arguments, groups


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, a data set."""
  args = arguments.parse_argument(arg, dict(dataset="digits"))
  return ConfigDict(
    dict(task="pack", method="pack", variant="", seed=0, data=groups.data(args["dataset"]))
  )
