"""Which files of a folder of Hugging Face's `datasets` hold its rows; no script of it is run.

save_to_disk    state.json names the .arrow files beside it, dataset_info.json has the features;
                dataset_dict.json names splits, a folder of that form each
parquet         SPLIT-00000-of-00002.parquet ..., or SPLIT.parquet, in the folder or in data/
"""

import json
from pathlib import Path
import re
from typing import Any, NamedTuple

from ddjax.files.bounded import read_bytes

STREAM, FILE, PARQUET = b"\xff\xff\xff\xff", b"ARROW1\0\0", b"PAR1"
"""With which Arrow streams, Arrow files and parquet files begin."""
_SHARD = re.compile(r"(.+?)-([0-9]{5})-of-([0-9]{5})(-[0-9a-f]+)?\.parquet")
_MOST_FILES = 1024
_MOST_JSON = 1 << 24  # bytes
_TRAIN = "train"


class Rows(NamedTuple):
  """Where the rows of a set lie.

  Attributes:
    files: in the order of the rows.
    remarks: sentences on what was chosen.
  """

  files: tuple[Path, ...]
  remarks: tuple[str, ...] = ()


def is_file(head: bytes) -> bool:
  """Whether a file that begins with these 8 bytes is one of parquet, or of Arrow."""
  return head[:4] in (STREAM, PARQUET) or head == FILE


def is_folder(path: Path) -> bool:
  """Whether a folder is one that `datasets` wrote, rather than one with a single file in it."""
  if (path / "dataset_dict.json").is_file():
    return True
  if (path / "state.json").is_file() and (path / "dataset_info.json").is_file():
    return True
  files = _parquet_files(path)
  return len(files) > 1 or any(file.parent != path or _SHARD.fullmatch(file.name) for file in files)


def find_rows(path: Path) -> Rows:
  """The files of one split, "train" where there are several, by the rules above.

  Args:
    path: of a folder, or of one file.
  Raises:
    ValueError: naming the folder, where there are none, several splits without a "train", or where
      one is missing.
  """
  if path.is_file():
    return Rows((path,))
  if (path / "dataset_dict.json").is_file():
    splits = read_json(path / "dataset_dict.json").get("splits")
    if type(splits) is not list or not all(_is_name(split) for split in splits):
      raise ValueError(f"{path / 'dataset_dict.json'} names no splits.")
    split, remarks = _choose(path, splits)
    return Rows(_saved_files(path / split), remarks)
  if (path / "state.json").is_file():
    return Rows(_saved_files(path))
  return _shards(path)


def read_json(path: Path) -> dict[str, Any]:
  """A JSON object from a file.

  Raises:
    ValueError: naming the file, for a damaged or a large one, or something else.
  """
  try:
    content = read_bytes(path)
    if len(content) > _MOST_JSON:
      raise ValueError("it is too large")
    value = json.loads(content)
    if type(value) is not dict:
      raise ValueError("it holds no object")
  except Exception as error:  # damaged JSON raises errors of several kinds
    reason = str(error)[:200] or type(error).__name__
    raise ValueError(f"{path} is damaged or no JSON: {reason}") from error
  return value


def _saved_files(folder: Path) -> tuple[Path, ...]:
  """The .arrow files that the state.json of a folder names."""
  listed = read_json(folder / "state.json").get("_data_files")
  listed = listed if type(listed) is list else []
  names: list[Any] = [one.get("filename") for one in listed if type(one) is dict]
  if not 0 < len(names) <= _MOST_FILES or not all(_is_name(name) for name in names):
    raise ValueError(f"{folder / 'state.json'} names no files of its folder.")
  for name in names:
    if not (folder / name).is_file():
      raise ValueError(f"{folder}: its state.json names {name[:60]}, which is missing.")
  return tuple(folder / name for name in names)


def _shards(folder: Path) -> Rows:
  """The parquet files of one split, every shard of it."""
  files = _parquet_files(folder)
  if not 0 < len(files) <= _MOST_FILES:
    raise ValueError(
      f"{folder}: layout 'huggingface' needs dataset_dict.json, state.json or parquet files, in it "
      f"or in data/; found {len(files)}."
    )
  found = {file: _SHARD.fullmatch(file.name) for file in files}
  names = {file: shard[1] if shard else file.stem for file, shard in found.items()}
  split, remarks = _choose(folder, sorted(set(names.values())))
  kept = [file for file in files if names[file] == split]
  shards = [found[file] for file in kept]
  numbers = [int(shard[2]) if shard else 0 for shard in shards]
  count = int(shards[0][3]) if shards[0] else 1
  if numbers != list(range(count)):
    raise ValueError(
      f"{folder}: of the split {split[:60]!r} there are the files {str(numbers[:8])[1:-1]}, where "
      f"{count} are needed, numbered from 0."
    )
  return Rows(tuple(kept), remarks)


def _parquet_files(folder: Path) -> list[Path]:
  """Those of a folder, or else of its folder `data`, in order."""
  for place in (folder, folder / "data"):
    files = sorted(file for file in place.glob("*.parquet") if file.name[0] != ".")
    if files:
      return files
  return []


def _choose(folder: Path, splits: list[str]) -> tuple[str, tuple[str, ...]]:
  """The split "train", or the only one, and a remark where there are others."""
  if len(splits) == 1:
    return splits[0], ()
  listed = ", ".join(split[:40] for split in splits[:8]) or "none"
  if _TRAIN not in splits:
    raise ValueError(f"{folder} holds the splits {listed}, and none called train. Name the file.")
  return _TRAIN, (f"The split train, of {listed}.",)


def _is_name(name: Any) -> bool:
  """Whether a name is one of an entry of a folder itself, not a path out of it."""
  return type(name) is str and name not in ("", ".", "..") and not set(name) & set("/\\\0")
