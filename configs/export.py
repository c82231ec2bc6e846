"""Writes a distilled set for other programs, with a data card.

  python -m ddjax.main --config=configs/export.py --config.distilled=runs/mine --workdir=OUT
  python -m ddjax.main --config=configs/export.py:png --config.distilled=runs/mine --workdir=OUT

The word behind the colon, or `--config.format`, is one of npz, png, tfds, huggingface, pt: see
`ddjax.io.export`. The figures of the card are those of the `report.json` in the run folder, and of
the audit at `--config.report=PATH`.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config(arg: str | None = None) -> ConfigDict:
  """Builds the config for `arg`, a format."""
  return ConfigDict(
    dict(
      task="export",
      method="export",
      variant="",
      seed=0,
      data=dict(name="set", path=placeholder(str)),  # in the default name of the folder
      distilled=placeholder(str),  # a run folder, a `distilled` folder, or an npz
      report=placeholder(str),  # the run folder of an audit of the set, for the card
      format=arg or "npz",
    )
  )
