"""A distilled set for other programs: npz, PNG, TFDS, Hugging Face, or a `.pt` file.

Every export is a folder with a data card, `README.md`, and what the user needs to map pixels to the
space of the networks. It is built beside its place and renamed, so it is whole or absent.
"""

import contextlib
import io
import json
import os
from pathlib import Path
import re
import secrets
import shutil
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import numpy as np

from ddjax.data.load import RealData
from ddjax.files import atomic
from ddjax.io import data_card
from ddjax.io.distilled import find_distilled, load_distilled, set_digest
from ddjax.io.foreign.convert import load_any
from ddjax.io.torch_file import write_torch
from ddjax.types import DistilledSet
from ddjax.wording import nearest

CARD_NAME = "README.md"
_CARD_SIGN = "Exported by ddjax"
_RECORD = ("label_kind", "method", "dataset", "ipc", "seed", "step", "learning_rate")
_MAP_NAME = "preprocessing.npz"


class Content(NamedTuple):
  """A set as the writers take it.

  Attributes:
    distilled: as loaded.
    name: letters, digits and underscores.
    class_names: k names.
    pixels: f32[n h w c], not clipped.
    bytes_: u8[n h w c], pixels clipped to [0, 1] and rounded to 255ths.
    classes: i64[n], the largest entry of each label.
    loss: a sentence on what clipping and rounding changed.
  """

  distilled: DistilledSet
  name: str
  class_names: tuple[str, ...]
  pixels: np.ndarray
  bytes_: np.ndarray
  classes: np.ndarray
  loss: str

  @property
  def is_hard(self) -> bool:
    """Whether classes say all that the labels say."""
    return self.distilled.info["label_kind"] == "one_hot"


def export_set(
  path: str | os.PathLike,
  folder: str | os.PathLike,
  format_name: str,
  *,
  report: str | os.PathLike | None = None,
  overwrite: bool = False,
  real: RealData | None = None,
  options: Mapping[str, Any] | None = None,
) -> list[str]:
  """Writes a set for other programs.

  Args:
    path: a run folder, its `distilled` folder, or an npz; its `report.json` goes into the card.
      With `real` another project's set too.
    folder: of the export; must be absent or empty.
    format_name: one of `FORMATS`.
    report: the run folder of an evaluation of the set, whose figures go into the card too.
    overwrite: whether an earlier export in the folder is replaced; anything else never is.
    real: the real set that another project's set stands for; its preprocessing is fitted on it.
    options: of another project's set; see `ddjax.io.foreign.convert.load_any`.
  Returns:
    sentences on the files, and on what they lost.
  Raises:
    FileNotFoundError: where there is no set, or no report.
    ValueError: for an unknown format, a set that the format cannot hold, a report of another set,
      or a folder in use.
    atomic.OutputError: where the folder cannot be written.
  """
  if format_name not in FORMATS:
    raise ValueError(f"Unknown export format {format_name!r}. {nearest(format_name, FORMATS)}")
  folder = Path(folder)
  _check_free(folder, overwrite)
  if real is None:
    distilled = load_distilled(path)
    found = data_card.find_report(find_distilled(path))
  else:
    distilled, found = load_any(path, real, options), None
  evaluation = data_card.read_report(Path(report), set_digest(distilled)) if report else None
  run = (found or evaluation or {}).get("run") or {}
  names = real.class_names if real is not None else run.get("class_names") or ()
  content = _content(distilled, names)
  temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
  try:
    temporary.mkdir(parents=True)
    files = FORMATS[format_name](content, temporary)
    if format_name != "npz" and distilled.info["preprocessing"].kind != "none":
      atomic.write_npz(temporary / _MAP_NAME, distilled.info["preprocessing"].to_arrays()[0])
      files.append(f"`{_MAP_NAME}`: the arrays of the preprocessing.")
    card = data_card.render(distilled, content.class_names, format_name, files, found, evaluation)
    atomic.write_text(temporary / CARD_NAME, card)
    if folder.exists():
      shutil.rmtree(folder)
    os.replace(temporary, folder)
  except OSError as error:
    reason = error.strerror or str(error)
    raise atomic.OutputError(f"Cannot write {folder}: {reason}.") from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
  return files


def _content(distilled: DistilledSet, names: Sequence[str]) -> Content:
  """The set in pixels, in bytes and in classes; names of another number of classes are left out."""
  info, preprocessing = distilled.info, distilled.info["preprocessing"]
  pixels = np.asarray(preprocessing.inverse(distilled.images), np.float32)
  num_clipped = int(np.sum((pixels < 0) | (pixels > 1)))
  loss = (
    f"Pixels are clipped to [0, 1] and rounded to 255ths: {num_clipped} of {pixels.size} values "
    f"({100 * num_clipped / pixels.size:.1f} %) lay outside, from {pixels.min():.3g} to "
    f"{pixels.max():.3g}."
  )
  num_classes = distilled.labels.shape[1]
  if len(names) != num_classes:
    names = [str(index) for index in range(num_classes)]
  parts = (info["method"], info["dataset"], _size(distilled))
  return Content(
    distilled=distilled,
    name=re.sub(r"\W+", "_", "_".join(map(str, parts)).lower()),
    class_names=tuple(map(str, names)),
    pixels=pixels,
    bytes_=np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8),
    classes=np.asarray(distilled.labels).argmax(axis=1),
    loss=loss,
  )


def _size(distilled: DistilledSet) -> str:
  """The size of a set in a name: images per class, or all where classes have unequally many."""
  ipc = distilled.info["ipc"]
  return f"{len(distilled.labels)}images" if ipc is None else f"{ipc}ipc"


def _write_npz(content: Content, folder: Path) -> list[str]:
  """Images in pixels as they are, labels, preprocessing and record; our own reader reads it."""
  arrays, facts = content.distilled.info["preprocessing"].to_arrays()
  info = content.distilled.info
  record = {name: info[name] for name in _RECORD}
  record |= {"decode_factor": info["decode_factor"] or 1, "preprocessing": facts}
  atomic.write_npz(
    folder / f"{content.name}.npz",
    {
      "images": content.pixels,
      "labels": np.asarray(content.distilled.labels),
      "class_names": np.array(content.class_names),
      "record": np.array(json.dumps(record)),
      **{f"preprocessing/{name}": array for name, array in arrays.items()},
    },
  )
  return [
    f"`{content.name}.npz`: `images` f32[n h w c] in pixels, neither clipped nor rounded; `labels` "
    "f32[n k]; `class_names`; the arrays of the preprocessing; `record`, a JSON text."
  ]


def _write_png(content: Content, folder: Path) -> list[str]:
  """CLASS/NUMBER.png, the classes numbered in order."""
  width = len(str(len(content.class_names) - 1))
  pngs = _pngs(content)
  for index, (png, label) in enumerate(zip(pngs, content.classes)):
    name = content.class_names[label]
    words = "" if name == str(label) else "_" + re.sub(r"\W+", "_", name)
    atomic.write_bytes(folder / f"{label:0{width}d}{words}" / f"{index:05d}.png", png)
  files = ["`CLASS/NUMBER.png`: 8 bits a channel, in pixels.", content.loss]
  if not content.is_hard:
    files.append("An image lies in the class of the largest entry of its label; the rest is lost.")
  return files


def _write_tfds(content: Content, folder: Path) -> list[str]:
  """One split, train, in TFDS's array_record format; neither written nor read with TensorFlow."""
  from array_record.python.array_record_module import ArrayRecordWriter
  import tensorflow_datasets as tfds
  from tensorflow_datasets.proto import tf_example_pb2

  count, *shape = content.pixels.shape
  features = tfds.features.FeaturesDict(
    {
      "image": tfds.features.Image(shape=tuple(shape), dtype=np.uint8),
      "label": tfds.features.ClassLabel(names=list(content.class_names)),
      "pixels": tfds.features.Tensor(shape=tuple(shape), dtype=np.float32),
      "soft_label": tfds.features.Tensor(shape=(len(content.class_names),), dtype=np.float32),
    }
  )
  features.save_config(str(folder))
  writer = ArrayRecordWriter(
    str(folder / f"{content.name}-train.array_record-00000-of-00001"), "group_size:1"
  )
  messages: Any = tf_example_pb2  # whose classes are made at run time
  num_bytes = 0
  for index, png in enumerate(_pngs(content)):
    example = messages.Example()
    values = example.features.feature
    values["image"].bytes_list.value.append(png)
    values["label"].int64_list.value.append(int(content.classes[index]))
    values["pixels"].float_list.value.extend(content.pixels[index].ravel())
    values["soft_label"].float_list.value.extend(content.distilled.labels[index])
    record = example.SerializeToString()
    num_bytes += len(record)
    writer.write(record)
  writer.close()
  split = {
    "name": "train",
    "numBytes": str(num_bytes),
    "shardLengths": [str(count)],
    "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
  }
  keys = [{"featureKey": "image"}, {"featureKey": "label"}]
  facts = {
    "name": content.name,
    "version": "1.0.0",
    "description": f"A distilled set; see {CARD_NAME}.",
    "fileFormat": "array_record",
    "splits": [split],
    "supervisedKeys": {"tuple": {"items": keys}},
  }
  atomic.write_json(folder / "dataset_info.json", facts)
  return [
    "`dataset_info.json` and others: `tfds.builder_from_directory(FOLDER)` reads them; one split, "
    "`train`, with `image` (bytes), `label`, `pixels` (f32, exact) and `soft_label` (f32, whole).",
    f"`image`: {content.loss}",
  ]


def _write_huggingface(content: Content, folder: Path) -> list[str]:
  """One parquet file, as `datasets.load_dataset(folder)` finds it."""
  import datasets

  shape = content.pixels.shape[1:]
  columns = {
    "image": [{"bytes": png, "path": None} for png in _pngs(content)],
    "label": content.classes,
    "pixels": content.pixels,
  }
  features = {
    "image": datasets.Image(),
    "label": datasets.ClassLabel(names=list(content.class_names)),
    "pixels": datasets.Array3D(shape, "float32"),
  }
  if not content.is_hard:
    columns["soft_label"] = content.distilled.labels
    length = len(content.class_names)
    features["soft_label"] = datasets.List(datasets.Value("float32"), length=length)
  table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
  buffer = io.BytesIO()
  with _no_progress_bars():
    table.to_parquet(buffer)
  atomic.write_bytes(folder / "data" / "train-00000-of-00001.parquet", buffer.getvalue())
  soft = "" if content.is_hard else ", and `soft_label` (f32, the label as it is)"
  return [
    "`data/*.parquet`: `datasets.load_dataset(FOLDER)` reads it; one split, `train`, with `image` "
    f"(bytes), `label` (the largest entry), `pixels` (f32, exact){soft}.",
    f"`image`: {content.loss}",
  ]


@contextlib.contextmanager
def _no_progress_bars():
  """Silences the progress bars of Hugging Face's `datasets`."""
  import datasets

  were_disabled = datasets.are_progress_bars_disabled()
  datasets.disable_progress_bars()
  try:
    yield
  finally:
    if not were_disabled:
      datasets.enable_progress_bars()


def _write_pt(content: Content, folder: Path) -> list[str]:
  """The layout of DatasetCondensation: images [n c h w] in the space of the networks."""
  info = content.distilled.info
  words = (info["method"], info["dataset"], "ddjax", _size(content.distilled))
  name = f"res_{'_'.join(re.sub(r'[^A-Za-z0-9]+', '', str(word)) for word in words)}.pt"
  images = np.asarray(content.distilled.images, np.float32).transpose(0, 3, 1, 2)
  labels = content.classes if content.is_hard else content.distilled.labels
  write_torch(folder / name, {"data": [[images, labels]], "accs_all_exps": {}})
  kind = "i64[n]" if content.is_hard else "f32[n k]"
  return [
    f"`{name}`: `torch.load(..., weights_only=True)` gives a dict; its `['data'][0]` is [images "
    f"f32[n c h w], labels {kind}], images in the space of the networks, not in pixels."
  ]


FORMATS: dict[str, Callable[[Content, Path], list[str]]] = {
  "npz": _write_npz,
  "png": _write_png,
  "tfds": _write_tfds,
  "huggingface": _write_huggingface,
  "pt": _write_pt,
}


def _pngs(content: Content) -> list[bytes]:
  """Every image as a PNG."""
  from PIL import Image

  channels = content.bytes_.shape[-1]
  if channels not in (1, 3):
    raise ValueError(f"Images of {channels} channels have no PNG; export them as npz or pt.")
  images = content.bytes_[..., 0] if channels == 1 else content.bytes_
  out = []
  for image in images:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    out.append(buffer.getvalue())
  return out


def _check_free(folder: Path, overwrite: bool) -> None:
  """Raises ValueError where a folder holds something that may not be replaced."""
  if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
    return
  card = folder / CARD_NAME
  is_export = card.is_file() and _CARD_SIGN in card.read_text(errors="replace")
  if not is_export:
    raise ValueError(f"{folder} is not empty and holds no export of ddjax; choose another folder.")
  if not overwrite:
    raise ValueError(f"{folder} holds an export; choose another folder, or --overwrite.")
