"""Writes a distilled set for other programs, with a data card.

  python -m ddjax.main --config=configs/export.py --config.distilled=runs/mine --workdir=OUT
  python -m ddjax.main --config=configs/export.py:png --config.distilled=runs/mine --workdir=OUT

Another project's set needs the real set that it stands for, and its preprocessing:

  python -m ddjax.main --config=configs/export.py:png --config.distilled=best.npz \\
    --config.data.name=cifar10 --config.foreign.preprocessing=zca_kip --workdir=OUT

The word behind the colon, or `--config.format`, is one of npz, png, tfds, huggingface, pt: see
`ddjax.io.export`. The figures of the card are those of the `report.json` in the run folder, and of
the audit at `--config.report=PATH`.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from ddjax.config import foreign_group, groups


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, a format."""
  return ConfigDict(
    dict(
      task="export",
      method="export",
      variant="",
      seed=0,
      data=groups.data("set"),  # of another project's set; its name is in that of the folder
      foreign=foreign_group.foreign(),  # what another project's file does not say of itself
      distilled=placeholder(str),  # a run folder, a `distilled` folder, or another project's file
      report=placeholder(str),  # the run folder of an audit of the set, for the card
      format=arg or "npz",
    )
  )
