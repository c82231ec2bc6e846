"""The layouts of other projects' distilled sets, one reader each.

A reader takes (path, options) and returns a ForeignSet, or raises ValueError with what its layout
needs and what was found. Which space a layout stores is what its project's released code does; it
is a default, held against pixel statistics when the set is used.
"""

import json
from pathlib import Path
import re
from typing import Any

import numpy as np

from ddjax.config.arguments import nearest
from ddjax.data.preprocess import Preprocessing
from ddjax.io.distilled import LABEL_KINDS, check_map
from ddjax.io.foreign.containers import read_msgpack, read_png_folder
from ddjax.io.foreign.foreign_set import SPACES, ForeignOptions, ForeignSet
from ddjax.io.plain_arrays import read_npz
from ddjax.io.torch_file import read_torch

_PREFIX = "preprocessing/"
_MOST_CLASSES = 25_000  # ImageNet-21k has 21,841
_KIP_NAME = re.compile(r"_ssize\d+_.*ckpt\d+")
_DC_NAME = re.compile(r"res_([A-Za-z0-9]+)_")
_MTT_NAME = re.compile(r"images(_zca)?_(\w+)\.pt")


def read_dc(path: Path, options: ForeignOptions) -> ForeignSet:
  """DatasetCondensation (DC, DSA, DM): `res_METHOD_DATASET_MODEL_Nipc.pt`."""
  value = read_torch(path)
  experiments = value.get("data") if type(value) is dict else None
  if type(experiments) is not list or not experiments:
    raise _wrong(path, "dc", "a dict whose 'data' is a list of [images, labels]", value)
  if not 0 <= options.experiment < len(experiments):
    raise ValueError(
      f"experiment={options.experiment}: {path} holds {len(experiments)}, numbered from 0."
    )
  one = experiments[options.experiment]
  if type(one) not in (list, tuple) or len(one) != 2:
    raise _wrong(path, "dc", "[images, labels] for each experiment", one)
  named = _DC_NAME.match(path.name)
  remarks = (
    f"Experiment {options.experiment} of {len(experiments)}.",
    "Images as in the file, which its project standardises by published means and deviations.",
  )
  return _make(
    path, "dc", _last_channels(path, one[0]), one[1], options, "network", remarks
  )._replace(method=named[1].lower() if named else "dc")


def read_mtt(path: Path, options: ForeignOptions) -> ForeignSet:
  """MTT, TESLA, DATM: `images_best.pt`, `labels_best.pt` and, where learned, `lr_best.pt`."""
  path = path / "images_best.pt" if path.is_dir() else path
  named = _MTT_NAME.fullmatch(path.name)
  if named is None:
    raise ValueError(
      f"{path}: layout 'mtt' needs images_best.pt or images_STEP.pt, with its labels beside it."
    )
  images = read_torch(path)
  labels_path = path.with_name(f"labels_{named[2]}.pt")
  rate_path = path.with_name(f"lr_{named[2]}.pt")
  labels = read_torch(labels_path)
  rate, remarks = None, ()
  if rate_path.is_file():
    rate = read_torch(rate_path)
    if isinstance(rate, np.ndarray) and rate.size == 1:
      rate = rate.item()
    if not isinstance(rate, (int, float)) or not 0 < rate < float("inf"):
      raise ValueError(f"{rate_path} holds {_describe(rate)}, not one positive learning rate.")
  else:
    remarks = (f"No {rate_path.name} beside it: the learned learning rate is not known.",)
  space = "pixels" if named[1] else "network"
  remarks += (
    "Its project writes images_zca files in pixels."
    if named[1]
    else "Its project writes images as its networks see them, whitened where it whitens.",
  )
  images = _last_channels(path, images)
  one = _make(path, "mtt", images, labels, options, space, remarks, "logits")
  return one._replace(method="mtt", learning_rate=rate)


def read_idc(path: Path, options: ForeignOptions) -> ForeignSet:
  """IDC: `data.pt`, [grids of images in pixels, labels]."""
  path = path / "data.pt" if path.is_dir() else path
  value = read_torch(path)
  if type(value) not in (list, tuple) or len(value) != 2:
    raise _wrong(path, "idc", "a list [images, labels]", value)
  if options.decode_factor is None:
    raise ValueError(
      f"{path}: an image of layout 'idc' is a grid of f x f images, and the file does not hold f. "
      "Name foreign.decode_factor (2 as published; 1 for IDC-I)."
    )
  images = _last_channels(path, value[0])
  one = _make(path, "idc", images, value[1], options, "pixels", ("Undecoded grids, in pixels.",))
  return one._replace(method="idc")


def read_kip(path: Path, options: ForeignOptions) -> ForeignSet:
  """KIP and Label Solve: npz of `images`, and of learned or centred `labels`."""
  arrays = _fields(path, "kip", ("images", "labels"))
  zca = "is" if "_zca_" in path.name else "is not"
  remark = f"Its name says that it {zca} whitened (zca_kip)."
  one = _make(
    path, "kip", arrays["images"], arrays["labels"], options, "network", (remark,), "centred"
  )
  return one._replace(method="kip")


def read_rfad(path: Path, options: ForeignOptions) -> ForeignSet:
  """RFAD: `best.npz`, centred labels, scalars k, jit and valid_loss."""
  path = path / "best.npz" if path.is_dir() else path
  arrays = _fields(path, "rfad", ("images", "labels"))
  remark = "Its project whitens CIFAR-10."
  one = _make(
    path, "rfad", arrays["images"], arrays["labels"], options, "network", (remark,), "centred"
  )
  return one._replace(method="rfad")


def read_frepo_npz(path: Path, options: ForeignOptions) -> ForeignSet:
  """FRePo: npz of `image` and `label`."""
  arrays = _fields(path, "frepo_npz", ("image", "label"))
  remark = "Labels as learned, taken as centred; their scale is their own."
  one = _make(
    path, "frepo_npz", arrays["image"], arrays["label"], options, "network", (remark,), "centred"
  )
  return one._replace(method="frepo")


def read_checkpoint(path: Path, options: ForeignOptions) -> ForeignSet:
  """FRePo, RCIG: a flax checkpoint with `x_proto` and `y_proto` among its parameters."""
  tree = read_msgpack(path)
  name = "ema_average" if options.use_average else "params"
  needs = f"{name}/x_proto and {name}/y_proto"
  part = tree.get(name) if type(tree) is dict else tree
  if type(part) is not dict or not {"x_proto", "y_proto"} <= part.keys():
    raise _wrong(path, "checkpoint", needs, part if type(part) is dict else tree)
  remarks = (
    f"The set under {name}.",
    "Labels as learned, taken as centred; their scale is their own.",
  )
  images, labels = part["x_proto"], part["y_proto"]
  one = _make(path, "checkpoint", images, labels, options, "network", remarks, "centred")
  return one._replace(method="frepo or rcig")


def read_png(path: Path, options: ForeignOptions) -> ForeignSet:
  """A folder of PNGs by class; the classes in the order of their names, or numbers."""
  if not path.is_dir():
    raise ValueError(f"{path}: layout 'png' needs a folder of folders of PNGs, not a file.")
  images, labels, names = read_png_folder(path)
  listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
  one = _make(path, "png", images, labels, options, "pixels", (f"Classes: {listed}.",))
  return one._replace(class_names=names)


def read_plain(path: Path, options: ForeignOptions) -> ForeignSet:
  """A plain npz of `images` and `labels`; with `record`, one of our own exports."""
  arrays = _fields(path, "npz", ("images", "labels"))
  if "record" in arrays:
    return _read_export(path, arrays, options)
  images, space = arrays["images"], None
  if images.dtype == np.uint8:
    space = "pixels"
  elif options.space is None:
    raise ValueError(
      f"{path}: layout 'npz' does not say where its images lie, and their values run from "
      f"{_end(images, np.min)} to {_end(images, np.max)}. Name foreign.space: pixels or network."
    )
  return _make(path, "npz", images, arrays["labels"], options, space, ())


def _read_export(path: Path, arrays: dict[str, np.ndarray], options: ForeignOptions) -> ForeignSet:
  """What `ddjax.io.export` wrote as npz: images in pixels, their preprocessing and record."""
  parts = {name.removeprefix(_PREFIX): value for name, value in arrays.items()}
  try:
    record = json.loads(str(arrays["record"]))
    preprocessing = Preprocessing.from_arrays(parts, record["preprocessing"])
    kind, factor = record["label_kind"], record["decode_factor"]
    rate, method = record["learning_rate"], str(record["method"])
    check_map(preprocessing, arrays["images"].shape)
    if not (rate is None or isinstance(rate, (int, float)) and 0 < rate < float("inf")):
      raise ValueError(f"its learning rate is {str(rate)[:40]}")
  except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
    raise ValueError(f"{path}: its record cannot be read: {str(error)[:200]}.") from error
  options = options._replace(
    label_kind=options.label_kind or kind, decode_factor=options.decode_factor or factor
  )
  one = _make(path, "npz", arrays["images"], arrays["labels"], options, "pixels", ())
  return one._replace(preprocessing=preprocessing, learning_rate=rate, method=method)


def is_kip_name(name: str) -> bool:
  """Whether a file is called as KIP's are."""
  return bool(_KIP_NAME.search(name))


def _make(
  path: Path,
  layout: str,
  images: Any,
  labels: Any,
  options: ForeignOptions,
  space: str | None,
  remarks: tuple[str, ...],
  soft_kind: str | None = None,
) -> ForeignSet:
  """Checks images and labels and brings them into our form."""
  images = _numbers(path, "images", images)
  if images.ndim != 4 or not images.size:
    raise ValueError(f"{path}: images are {list(images.shape)}, not [n h w c].")
  if images.dtype == np.uint8:
    images = images / np.float32(255)
  labels = _numbers(path, "labels", labels)
  if labels.shape[:1] != images.shape[:1]:
    raise ValueError(f"{path}: {len(images)} images, but labels {list(labels.shape)}.")
  labels, kind, remark = _labels(path, labels, options, soft_kind)
  space = options.space or space
  if space not in SPACES:
    raise ValueError(f"{path}: unknown space {str(space)[:40]!r}. {nearest(space, SPACES)}")
  factor = options.decode_factor or 1
  if type(factor) is not int or factor < 1 or images.shape[1] % factor or images.shape[2] % factor:
    raise ValueError(
      f"{path}: decode_factor={factor} does not divide images of {images.shape[1]} x "
      f"{images.shape[2]}."
    )
  return ForeignSet(
    images=images.astype(np.float32),
    labels=labels.astype(np.float32),
    label_kind=kind,
    space=space,
    layout=layout,
    remarks=(*remarks, *remark),
    decode_factor=factor,
  )


def _labels(
  path: Path, labels: np.ndarray, options: ForeignOptions, soft_kind: str | None
) -> tuple[np.ndarray, str, tuple[str, ...]]:
  """Labels [n k], their kind, and what was assumed."""
  kind = options.label_kind
  if kind is not None and kind not in LABEL_KINDS:
    raise ValueError(f"Unknown label_kind {str(kind)[:40]!r}. {nearest(kind, LABEL_KINDS)}")
  if labels.ndim == 1 and labels.dtype.kind in "iu" and labels.size:
    if kind not in (None, "one_hot"):
      raise ValueError(f"{path}: label_kind={kind!r}, but its labels are numbers of classes.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= _MOST_CLASSES:
      raise ValueError(f"{path}: labels run from {low} to {high}.")
    return np.eye(high + 1, dtype=np.float32)[labels], "one_hot", ()
  if labels.ndim != 2 or not labels.size:
    raise ValueError(
      f"{path}: labels are {labels.dtype}{list(labels.shape)}, neither classes [n] nor [n k]."
    )
  if kind is not None:
    return labels, kind, ()
  sums_to_one = np.allclose(labels.sum(axis=1), 1, atol=1e-3) and labels.min() >= 0
  if sums_to_one:
    kind = "one_hot" if np.isin(labels, (0, 1)).all() else "probabilities"
    return labels, kind, (f"Labels are taken as {kind}: each row sums to 1.",)
  if soft_kind is None:
    raise ValueError(
      f"{path}: its labels are no distributions over classes. Name foreign.label_kind: "
      f"{', '.join(LABEL_KINDS)}."
    )
  return labels, soft_kind, (f"Labels are taken as {soft_kind}, as its project has them.",)


def _numbers(path: Path, name: str, value: Any) -> np.ndarray:
  """An array of finite numbers."""
  if not isinstance(value, np.ndarray) or value.dtype.kind not in "biufV":
    raise ValueError(f"{path}: {name} are {_describe(value)}, no array of numbers.")
  value = value.astype(np.float32) if value.dtype.kind == "V" else value  # bfloat16
  with np.errstate(over="ignore"):
    is_finite = np.isfinite(value.astype(np.float32))
  if not is_finite.all():
    index = tuple(int(i) for i in np.argwhere(~is_finite)[0])
    raise ValueError(f"{path}: {name} hold {value[index]} at {index}.")
  return value


def _last_channels(path: Path, images: Any) -> Any:
  """[n c h w] as [n h w c]; what is no such array goes on to the check that says so."""
  if not isinstance(images, np.ndarray) or images.ndim != 4:
    return images
  if images.shape[1] > 4 and images.shape[3] <= 4:
    raise ValueError(f"{path}: images are {list(images.shape)}; the layout stores [n c h w].")
  return images.transpose(0, 2, 3, 1)


def _fields(path: Path, layout: str, names: tuple[str, ...]) -> dict[str, np.ndarray]:
  """The arrays of an npz that has at least these."""
  arrays = read_npz(path)
  if not set(names) <= arrays.keys():
    raise _wrong(path, layout, f"arrays {' and '.join(names)}", arrays)
  return arrays


def _end(images: np.ndarray, end) -> str:
  """The least or the largest value of an array, for a message."""
  is_number = images.size and images.dtype.kind in "biuf"
  return f"{end(images):.3g}" if is_number else "nothing"


def _wrong(path: Path, layout: str, needs: str, found: Any) -> ValueError:
  """The error of a file that does not have the layout."""
  return ValueError(f"{path}: layout {layout!r} needs {needs}; found {_describe(found)}.")


def _describe(value: Any) -> str:
  """A value in a few words, without going into what it contains."""
  if isinstance(value, np.ndarray):
    return f"an array {value.dtype}{list(value.shape)}"
  if type(value) is dict:
    names = ", ".join(str(key)[:30] for key in list(value)[:8])
    return f"a dict of {names or 'nothing'}"
  if type(value) in (list, tuple):
    return f"a {type(value).__name__} of {len(value)}"
  return f"a {type(value).__name__}"
