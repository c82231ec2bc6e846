"""Another project's distilled set, whatever its layout."""

import os
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np

from ddjax.files.plain_arrays import read_npz
from ddjax.io.foreign import huggingface, huggingface_folder, layouts, named_files, safetensors
from ddjax.io.foreign.arrays import describe
from ddjax.io.foreign.containers import has_class_folders
from ddjax.io.foreign.foreign_set import ForeignOptions, ForeignSet
from ddjax.io.foreign.named_arrays import find_names, is_pair
from ddjax.io.torch_file import read_torch
from ddjax.wording import nearest


class Layout(NamedTuple):
  """One layout: its reader, and what it is in words."""

  read: Callable[[Path, ForeignOptions], ForeignSet]
  words: str


LAYOUTS = {
  "npz": Layout(layouts.read_plain, "npz of images and labels"),
  "png": Layout(layouts.read_png, "a folder of folders of PNGs or JPEGs"),
  "png_flat": Layout(named_files.read_set, "a folder of PNGs or JPEGs whose names carry the class"),
  "huggingface": Layout(huggingface.read_set, "parquet or Arrow of Hugging Face's datasets"),
  "dc": Layout(layouts.read_dc, "DatasetCondensation's res_*.pt (DC, DSA, DM)"),
  "mtt": Layout(layouts.read_mtt, "images_best.pt and labels_best.pt (MTT, TESLA, DATM)"),
  "tensors": Layout(layouts.read_tensors, "a .pt file of a dict of images and labels"),
  "safetensors": Layout(safetensors.read_set, "a safetensors file of images and labels"),
  "idc": Layout(layouts.read_idc, "IDC's data.pt"),
  "kip": Layout(layouts.read_kip, "npz of KIP or Label Solve"),
  "rfad": Layout(layouts.read_rfad, "RFAD's best.npz"),
  "frepo_npz": Layout(layouts.read_frepo_npz, "FRePo's npz of image and label"),
  "checkpoint": Layout(layouts.read_checkpoint, "flax msgpack checkpoint (FRePo, RCIG)"),
}
_MOST_FILES = 32  # of a folder, that are looked into
_FOLDERS = ("png", "png_flat", "huggingface")
_IN_FOLDER = ("images_best.pt", "data.pt", "best.npz")  # of MTT, IDC and RFAD, beside others


def read_foreign(path: str | os.PathLike, options: ForeignOptions = ForeignOptions()) -> ForeignSet:
  """Reads a distilled set in one of `LAYOUTS`.

  Args:
    path: of the file, or of the folder that holds it.
    options: what the file does not say of itself.
  Returns:
    the ForeignSet; nothing of its space or preprocessing is more than its layout's default.
  Raises:
    FileNotFoundError: where there is nothing.
    ValueError: for a damaged file, another layout than the one named, one that cannot be told by
      its content, or an option that must be named. Nothing in the file is run.
  """
  path = Path(path)
  if not path.exists():
    raise FileNotFoundError(f"No distilled set at {path}.")
  if options.layout is not None and options.layout not in LAYOUTS:
    raise ValueError(f"Unknown layout {options.layout!r}. {nearest(options.layout, LAYOUTS)}")
  if path.is_dir() and (only := _only_file(path)) is not None:
    path = only
  if path.is_dir():  # what a file of a usual name is, its content says
    path = next((path / name for name in _IN_FOLDER if (path / name).is_file()), path)
  layout = options.layout or find_layout(path)
  if path.is_dir() and layout not in _FOLDERS:
    raise ValueError(f"{path}: layout {layout!r} ({LAYOUTS[layout].words}) is a file, no folder.")
  return LAYOUTS[layout].read(path, options)


def find_layout(path: Path) -> str:
  """The layout of a file or folder, by its content.

  Raises:
    ValueError: where the content could be of none, saying what it is.
  """
  if path.is_dir():
    if has_class_folders(path):
      return "png"
    if huggingface_folder.is_folder(path):
      return "huggingface"
    if named_files.list_pictures(path):
      return "png_flat"
    raise _unknown(path, f"a folder without {', '.join(_IN_FOLDER)}, CLASS/*.png, *.png or parquet")
  with path.open("rb") as file:
    head = file.read(9)
  if safetensors.is_safetensors(head, path.stat().st_size):  # whose length may look like a pickle
    return "safetensors"
  if huggingface_folder.is_file(head[:8]):
    return "huggingface"
  if head[:2] == b"PK" and _is_npz(path):
    return _layout_of_npz(path)
  if head[:2] == b"PK" or (head[:1] == b"\x80" and head[1:2] <= b"\x05"):  # a zip, or a pickle
    return _layout_of_torch(path)
  if head[:4] == b"\x89PNG":  # which could begin a map too
    raise _unknown(path, "a single PNG")
  if head and (0x81 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF)):  # a map that is not empty
    return "checkpoint"
  raise _unknown(path, f"a file that begins with the bytes {head[:4]!r}")


def _only_file(folder: Path) -> Path | None:
  """The one file of a folder that holds a set, whatever its name; None for other folders.

  Raises:
    ValueError: where several hold one.
  """
  is_known = (
    any((folder / name).is_file() for name in _IN_FOLDER)
    or has_class_folders(folder)
    or huggingface_folder.is_folder(folder)
  )
  files = sorted(file for file in folder.iterdir() if file.is_file() and file.name[0] != ".")
  if is_known or len(files) > _MOST_FILES:
    return None
  readable = []
  for file in files:
    try:
      find_layout(file)
      readable.append(file)
    except ValueError:
      continue
  if len(readable) > 1:
    names = ", ".join(file.name for file in readable)
    raise ValueError(f"{folder} holds several sets: {names}. Name the file.")
  return readable[0] if readable else None


def _is_npz(path: Path) -> bool:
  """Whether a zip holds arrays of NumPy, going by its directory at the end."""
  with path.open("rb") as file:
    file.seek(max(0, path.stat().st_size - 65536))
    return b".npy" in file.read()


def _layout_of_npz(path: Path) -> str:
  arrays = read_npz(path)
  if {"image", "label"} <= arrays.keys():
    return "frepo_npz"
  if not {"images", "labels"} <= arrays.keys():
    if find_names(arrays) is not None:
      return "npz"
    raise _unknown(path, f"an npz of {', '.join(list(arrays)[:8]) or 'nothing'}")
  if {"k", "jit", "valid_loss"} <= arrays.keys():
    return "rfad"
  return "kip" if layouts.holds_kip(arrays) and "record" not in arrays else "npz"


def _layout_of_torch(path: Path) -> str:
  value: Any = read_torch(path)
  if type(value) is dict and type(value.get("data")) is list:
    return "dc"
  if type(value) is dict and find_names(value) is not None:
    return "tensors"
  if isinstance(value, np.ndarray) and value.ndim == 4:
    return "mtt"
  if is_pair(value):
    return "idc"
  raise _unknown(path, f"a .pt file of {describe(value)}")


def _unknown(path: Path, found: str) -> ValueError:
  known = ", ".join(f"{name} ({layout.words})" for name, layout in LAYOUTS.items())
  return ValueError(f"{path} is {found}: no layout that is known. Known: {known}.")
