"""What a reader of another project's files returns, and what the user may say of them."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ddjax.data.preprocess import Preprocessing
from ddjax.wording import nearest

SPACES = ("pixels", "network")


class ForeignOptions(NamedTuple):
  """What a file does not say of itself; None leaves it to the layout, or to an error that asks.

  Attributes:
    layout: name in `ddjax.io.foreign.read.LAYOUTS`.
    preprocessing: name in `ddjax.data.preprocess.KINDS`: the map from pixels to network space.
    space: "pixels" or "network", where the stored images lie.
    decode_factor: cells a side of the grid that an image is (IDC).
    experiment: which of several sets in one file (DC, DSA, DM).
    label_kind: name in `ddjax.io.distilled.LABEL_KINDS`.
    use_average: the averaged copy of a checkpoint instead of its last parameters (FRePo, RCIG).
    ipc: the first so many images of each class instead of all.
    max_value: of white in images that are whole numbers, or pictures of 16 bits.
  """

  layout: str | None = None
  preprocessing: str | None = None
  space: str | None = None
  decode_factor: int | None = None
  experiment: int = 0
  label_kind: str | None = None
  use_average: bool = False
  ipc: int | None = None
  max_value: float | None = None


_READ = {
  "decode_factor": int,
  "experiment": int,
  "use_average": {"True": True, "False": False}.get,
  "ipc": int,
  "max_value": float,
}


def split_options(source: str) -> tuple[str, dict[str, Any]]:
  """(path, fields of `ForeignOptions`) of `PATH#field=value#field=value`.

  A path that exists as it stands, with its "#", has no fields.

  Raises:
    ValueError: for an unknown field, or a value that it cannot have.
  """
  path, *fields = [source] if Path(source).exists() else source.split("#")
  options = {}
  for field in fields:
    name, _, text = field.partition("=")
    if name not in ForeignOptions._fields:
      raise ValueError(
        f"Unknown option {name!r} in {source!r}. {nearest(name, ForeignOptions._fields)}"
      )
    try:
      options[name] = _READ.get(name, str)(text)
    except ValueError:
      options[name] = None
    if options[name] in (None, ""):
      raise ValueError(f"{name}={text!r} in {source!r} is no value that it can have.")
  return path, options


class ForeignSet(NamedTuple):
  """A distilled set as it lies in a file.

  Attributes:
    images: f32[n h w c].
    labels: f32[n k].
    label_kind: name in `ddjax.io.distilled.LABEL_KINDS`.
    space: "pixels" in [0, 1], or "network": as the networks of its project saw them.
    layout: name of the layout.
    remarks: sentences on what was assumed.
    learning_rate: at which networks should train on it, where the file says so.
    decode_factor: cells a side of the grid that an image is; 1 for whole images.
    method: that made it, where the file says so.
    preprocessing: where the file carries it.
    class_names: of the labels in order, where the file has them.
  """

  images: np.ndarray
  labels: np.ndarray
  label_kind: str
  space: str
  layout: str
  remarks: tuple[str, ...] = ()
  learning_rate: float | None = None
  decode_factor: int = 1
  method: str = "unknown"
  preprocessing: Preprocessing | None = None
  class_names: tuple[str, ...] = ()
