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

from ddjax.data.preprocess import Preprocessing
from ddjax.files.plain_arrays import read_npz
from ddjax.io.distilled import LABEL_KINDS, check_map
from ddjax.io.foreign.arrays import (
  Convention,
  check_no_teacher,
  describe,
  is_centred,
  make_set,
)
from ddjax.io.foreign.containers import list_files, read_msgpack, read_picture_folder
from ddjax.io.foreign.foreign_set import ForeignOptions, ForeignSet
from ddjax.io.foreign.named_arrays import (
  NEEDED,
  class_names,
  find_names,
  likely_space,
  set_of_tensors,
  space_of,
  wrong,
)
from ddjax.io.torch_file import read_torch

_MOST_BESIDE = 32  # files that are looked into for labels
_PREFIX = "preprocessing/"
_KIP_NAME = re.compile(r"_ssize\d+_.*ckpt\d+")
_DC_NAME = re.compile(r"res_([A-Za-z0-9]+)_")
_MTT_NAME = re.compile(r"images(_zca)?_(\w+)\.pt")


def read_dc(path: Path, options: ForeignOptions) -> ForeignSet:
  """DatasetCondensation (DC, DSA, DM): `res_METHOD_DATASET_MODEL_Nipc.pt`."""
  value = read_torch(path)
  experiments = value.get("data") if type(value) is dict else None
  if type(experiments) is not list or not experiments:
    raise wrong(path, "dc", "a dict whose 'data' is a list of [images, labels]", value)
  if not 0 <= options.experiment < len(experiments):
    raise ValueError(
      f"experiment={options.experiment}: {path} holds {len(experiments)}, numbered from 0."
    )
  one = experiments[options.experiment]
  if type(one) not in (list, tuple) or len(one) != 2:
    raise wrong(path, "dc", "[images, labels] for each experiment", one)
  named = _DC_NAME.match(path.name)
  remarks = (
    f"Experiment {options.experiment} of {len(experiments)}.",
    "Images as in the file, which its project standardises by published means and deviations.",
  )
  convention = Convention("dc", "network", channels="first", remarks=remarks)
  made = make_set(path, one[0], one[1], options, convention)
  return made._replace(method=named[1].lower() if named else "dc, dsa or dm")


def read_mtt(path: Path, options: ForeignOptions) -> ForeignSet:
  """MTT, TESLA, DATM: `images_best.pt`, `labels_best.pt` and, where learned, `lr_best.pt`."""
  path = path / "images_best.pt" if path.is_dir() else path
  named = _MTT_NAME.fullmatch(path.name)
  images = read_torch(path)
  if named:
    labels_path = path.with_name(f"labels_{named[2]}.pt")
    rate_path = path.with_name(f"lr_{named[2]}.pt")
  else:
    labels_path, rate_path = _tensors_beside(path, images)
  labels = read_torch(labels_path)
  rate, remarks = None, () if named else (f"Labels are those of {labels_path.name} beside it.",)
  if rate_path.is_file():
    rate = read_torch(rate_path)
    if isinstance(rate, np.ndarray) and rate.size == 1:
      rate = rate.item()
    if not isinstance(rate, (int, float)) or not 0 < rate < float("inf"):
      raise ValueError(f"{rate_path} holds {describe(rate)}, not one positive learning rate.")
  else:
    remarks += (f"No {rate_path.name} beside it: the learned learning rate is not known.",)
  space = _space_of_mtt(path, images, bool(named and named[1]), options)
  remarks += (
    "Its values are those of pixels, as its project's images_zca files."
    if space == "pixels"
    else "Its project writes images as its networks see them, whitened where it whitens.",
  )
  convention = Convention("mtt", space, "logits", "first", remarks)
  one = make_set(path, images, labels, options, convention)
  return one._replace(method="mtt", learning_rate=rate)


def _space_of_mtt(path: Path, images: Any, is_called_zca: bool, options: ForeignOptions) -> str:
  """Where images lie: its project writes two kinds of files, and only their values tell them apart.

  Raises:
    ValueError: where the values do not say, or not what the name says.
  """
  if options.space is not None:
    return options.space
  if not isinstance(images, np.ndarray) or images.ndim != 4 or not images.size:
    return "network"  # is refused as no images
  if images.dtype.kind in "biu":
    return "pixels"
  found, values = likely_space(images), images.astype(np.float64)
  if found is None or (is_called_zca and found == "network"):
    name = "its name is that of pixels" if is_called_zca else "its name does not say"
    raise ValueError(
      f"{path}: layout 'mtt' stores images as networks see them, or its images_zca files in "
      f"pixels; {name}, and its values run from {values.min():.3g} to {values.max():.3g} with the "
      f"mean {values.mean():.3g}. Name foreign.space: network or pixels."
    )
  return found


def _tensors_beside(path: Path, images: Any) -> tuple[Path, Path]:
  """(labels, learning rate) of a file of images that was renamed, told by what the others hold.

  Raises:
    ValueError: where not exactly one file beside it holds a label for each image.
  """
  if not isinstance(images, np.ndarray) or images.ndim != 4:
    raise wrong(path, "mtt", "a tensor of images", images)
  labels, rates = [], []
  for other in list_files(path.parent, ".pt")[:_MOST_BESIDE]:
    if other == path:
      continue
    try:
      value = read_torch(other)
    except ValueError:  # of something else
      continue
    is_array = isinstance(value, np.ndarray)
    of_teacher = is_array and value.ndim == 3 and len(images) in value.shape[:2]
    if of_teacher or is_array and value.ndim in (1, 2) and len(value) == len(images):
      labels.append(other)
    elif isinstance(value, (int, float)) or isinstance(value, np.ndarray) and value.size == 1:
      rates.append(other)
  if len(labels) != 1:
    found = ", ".join(other.name for other in labels) or "none"
    raise ValueError(
      f"{path}: a tensor of images has its labels in a file beside it, images_NAME.pt in "
      f"labels_NAME.pt. Files that could be its labels: {found}."
    )
  return labels[0], rates[0] if len(rates) == 1 else path.with_name("lr_best.pt")


def read_tensors(path: Path, options: ForeignOptions) -> ForeignSet:
  """A dict of tensors saved by PyTorch, under the names that people give images and labels, or a
  pair of both.
  """
  return set_of_tensors(path, "tensors", read_torch(path), options)


def read_idc(path: Path, options: ForeignOptions) -> ForeignSet:
  """IDC: `data.pt`, [grids of images in pixels, labels]."""
  path = path / "data.pt" if path.is_dir() else path
  value = read_torch(path)
  if type(value) not in (list, tuple) or len(value) != 2:
    raise wrong(path, "idc", "a list [images, labels]", value)
  if options.decode_factor is None:
    raise ValueError(
      f"{path} holds images and labels without names. An image is a grid of f x f images in "
      "pixels, as IDC stores them: name foreign.decode_factor (2 as published; 1 for IDC-I). Or it "
      "is one image, as most projects store them: name foreign.layout=tensors, and foreign.space: "
      "pixels or network."
    )
  remarks = ("Undecoded grids, in pixels.",)
  images, labels = value
  convention = Convention("idc", "pixels", channels="first", remarks=remarks)
  one = make_set(path, images, labels, options, convention)
  return one._replace(method="idc")


def read_kip(path: Path, options: ForeignOptions) -> ForeignSet:
  """KIP and Label Solve: npz of `images`, and of learned or centred `labels`."""
  arrays = _fields(path, "kip", ("images", "labels"))
  zca = "is" if "_zca_" in path.name else "is not"
  remark = "Centred labels and images as networks see them, as KIP and Label Solve store them."
  if _KIP_NAME.search(path.name):
    remark = f"Its name says that it {zca} whitened (zca_kip)."
  convention = Convention("kip", "network", "centred", remarks=(remark,))
  one = make_set(path, arrays["images"], arrays["labels"], options, convention)
  return one._replace(method="kip")


def read_rfad(path: Path, options: ForeignOptions) -> ForeignSet:
  """RFAD: `best.npz`, centred labels, scalars k, jit and valid_loss."""
  path = path / "best.npz" if path.is_dir() else path
  arrays = _fields(path, "rfad", ("images", "labels"))
  convention = Convention("rfad", "network", "centred", remarks=("Its project whitens CIFAR-10.",))
  one = make_set(path, arrays["images"], arrays["labels"], options, convention)
  return one._replace(method="rfad")


def read_frepo_npz(path: Path, options: ForeignOptions) -> ForeignSet:
  """FRePo: npz of `image` and `label`."""
  arrays = _fields(path, "frepo_npz", ("image", "label"))
  remark = "Labels as learned, taken as centred; their scale is their own."
  convention = Convention("frepo_npz", "network", "centred", remarks=(remark,))
  one = make_set(path, arrays["image"], arrays["label"], options, convention)
  return one._replace(method="frepo")


def read_checkpoint(path: Path, options: ForeignOptions) -> ForeignSet:
  """FRePo, RCIG: a flax checkpoint with `x_proto` and `y_proto` among its parameters."""
  tree = read_msgpack(path)
  name = "ema_average" if options.use_average else "params"
  needs = f"{name}/x_proto and {name}/y_proto"
  part = tree.get(name) if type(tree) is dict else tree
  if type(part) is not dict or not {"x_proto", "y_proto"} <= part.keys():
    raise wrong(path, "checkpoint", needs, part if type(part) is dict else tree)
  remarks = (
    f"The set under {name}.",
    "Labels as learned, taken as centred; their scale is their own.",
  )
  images, labels = part["x_proto"], part["y_proto"]
  convention = Convention("checkpoint", "network", "centred", remarks=remarks)
  one = make_set(path, images, labels, options, convention)
  return one._replace(method="frepo or rcig")


def read_png(path: Path, options: ForeignOptions) -> ForeignSet:
  """A folder of pictures by class; the classes in the order of their names, or numbers."""
  if not path.is_dir():
    raise ValueError(f"{path}: layout 'png' needs a folder of folders of pictures, not a file.")
  images, labels, names = read_picture_folder(path, options.max_value)
  listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
  options = options._replace(max_value=255)  # PNGs say what white is
  convention = Convention("png", "pixels", remarks=(f"Classes: {listed}.",))
  one = make_set(path, images, labels, options, convention)
  return one._replace(class_names=names)


def read_plain(path: Path, options: ForeignOptions) -> ForeignSet:
  """A plain npz of images and labels; with `record`, one of our own exports."""
  arrays = read_npz(path)
  names = find_names(arrays)
  if names is None:
    raise wrong(path, "npz", NEEDED, arrays)
  if "record" in arrays and names[:2] == ("images", "labels"):
    return _read_export(path, arrays, options)
  images, labels = arrays[names.images], arrays[names.labels]
  check_no_teacher(path, labels)
  if labels.ndim == 1 and labels.dtype.kind == "U" and labels.size:  # names, by alphabet
    known, labels = np.unique(labels, return_inverse=True)
    arrays = arrays | {"class_names": known}
  is_open = labels.ndim == 2 and labels.shape[1] > 1 and not _is_certain(labels)
  if is_open and None in (options.space, options.label_kind):
    raise ValueError(
      f"{path}: labels {list(labels.shape)} that are no distributions are those of KIP or Label "
      "Solve (foreign.layout=kip: images as networks see them, centred labels), or others: then "
      f"name foreign.space (pixels or network) and foreign.label_kind ({', '.join(LABEL_KINDS)})."
    )
  space = space_of(path, "npz", images, options)
  one = make_set(path, images, labels, options, Convention("npz", space))
  return one._replace(class_names=class_names(path, arrays, one.labels.shape[1]))


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
  convention = Convention("npz", "pixels")
  one = make_set(path, arrays["images"], arrays["labels"], options, convention)
  return one._replace(preprocessing=preprocessing, learning_rate=rate, method=method)


def holds_kip(arrays: dict[str, np.ndarray]) -> bool:
  """Whether arrays are what KIP and Label Solve store: centred labels, images in network space.

  Learned labels need not be centred any more; `read_plain` asks then.
  """
  return is_centred(arrays["labels"]) and likely_space(arrays["images"]) == "network"


def _is_certain(labels: np.ndarray) -> bool:
  """Whether labels [n k] say their kind: distributions, or one-hot rows minus 1/k."""
  if labels.dtype.kind not in "biuf" or not labels.size:
    return True  # is refused as no labels
  values = labels.astype(np.float64)
  return is_centred(labels) or bool(np.allclose(values.sum(1), 1, atol=1e-3) and values.min() >= 0)


def _fields(path: Path, layout: str, names: tuple[str, ...]) -> dict[str, np.ndarray]:
  """The arrays of an npz that has at least these."""
  arrays = read_npz(path)
  if not set(names) <= arrays.keys():
    raise wrong(path, layout, f"arrays {' and '.join(names)}", arrays)
  return arrays
