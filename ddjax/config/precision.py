"""What a config's `precision` means for kernels and for networks."""

from typing import NamedTuple

from ml_collections import ConfigDict

from ddjax.wording import nearest


class Precision(NamedTuple):
  """Dtypes by name.

  Attributes:
    kernels: of kernels, their sums and solves.
    networks: of the layers of networks; see `CHOICES["dtype"]` in `ddjax.models.layers`.
  """

  kernels: str
  networks: str


PRECISIONS = {
  "float32": Precision("float32", "float32"),
  "float64": Precision("float64", "float32"),
  "bfloat16": Precision("float32", "bfloat16"),
}


def precision_of(config: ConfigDict) -> Precision:
  """The dtypes that the whole config asks for.

  Raises:
    ValueError: for an unknown precision, with the nearest known one.
  """
  if config.precision not in PRECISIONS:
    known = nearest(config.precision, PRECISIONS)
    raise ValueError(f"Unknown precision={config.precision!r}. {known}")
  return PRECISIONS[config.precision]
