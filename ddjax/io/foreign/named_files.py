"""A flat folder of pictures whose names carry the class, told by one rule for all of them.

Three rules: a number after a word (`label_7-idx_1`), a number in front (`0_airplane_0003`), and a
name of letters (`airplane_001`, `003_airplane`). Where two rules that hold for every file sort the
files differently, nothing is guessed.
"""

from functools import partial
from pathlib import Path
import re
from typing import NamedTuple

import numpy as np

from ddjax.files.bounded import read_bytes
from ddjax.io.foreign.arrays import Convention, make_set
from ddjax.io.foreign.containers import PICTURES, list_files
from ddjax.io.foreign.foreign_set import ForeignOptions, ForeignSet
from ddjax.io.foreign.pictures import MOST_PICTURES, stack_pictures

_SURE = "Put each class into a folder of its own, CLASS/*.png, or call the files label_3-0.png."
_MOST_SHOWN = 10
_AFTER_WORD = re.compile(
  r"(?<![^_-])(?:class|label|cls|c|y)[_-]?([0-9]{1,9})(?![^_-])", re.IGNORECASE
)
_IN_FRONT = re.compile(r"^([0-9]{1,9})[_-]")
_LETTERS = re.compile(r"([0-9]+[_-])?([^\W\d_](?:[^\W\d]|[- ])*?)([_ -]?[0-9]+)?")


class Reading(NamedTuple):
  """What one rule makes of the names of all files.

  Attributes:
    words: what the class of a file is, for a sentence.
    labels: one for each file, 0 to k-1; None where the rule does not hold.
    names: of the k classes.
    why: it does not hold.
  """

  words: str
  labels: tuple[int, ...] | None
  names: tuple[str, ...] = ()
  why: str = ""


def read_set(path: Path, options: ForeignOptions) -> ForeignSet:
  """A folder of PNGs or JPEGs, all of one size, whose names carry the class.

  Raises:
    ValueError: naming the folder or the file that is wrong; where no rule holds, or two differ.
  """
  if not path.is_dir():
    raise ValueError(f"{path}: layout 'png_flat' needs a folder of pictures, not a file.")
  files = list_pictures(path)
  if not 0 < len(files) <= MOST_PICTURES:
    raise ValueError(
      f"{path}: layout 'png_flat' needs PNGs or JPEGs in the folder; found {len(files)}."
    )
  reading = find_reading(path, tuple(file.stem for file in files))
  pictures = ((file, partial(read_bytes, file)) for file in files)
  images = stack_pictures(path, pictures, ("PNG", "JPEG"), options.max_value)
  labels = np.array(reading.labels)
  order = np.argsort(labels, kind="stable")
  listed = ", ".join(reading.names[:_MOST_SHOWN])
  listed += ", ..." if len(reading.names) > _MOST_SHOWN else ""
  remarks = (f"The class of a file is {reading.words}.", f"Classes: {listed}.")
  options = options._replace(max_value=255)  # PNGs say what white is
  convention = Convention("png_flat", "pixels", remarks=remarks)
  one = make_set(path, images[order], labels[order], options, convention)
  return one._replace(class_names=reading.names)


def list_pictures(path: Path) -> list[Path]:
  """The pictures of a folder in the order of their names, numbers in them by value."""
  return sorted(list_files(path, *PICTURES), key=lambda file: (_natural(file.stem), file.name))


def find_reading(path: Path, stems: tuple[str, ...]) -> Reading:
  """The one reading of names without their ending.

  A number in front that no two files share may only count them, and is no class.

  Args:
    path: of the folder, for errors.
    stems: of the files; at least one.
  Returns:
    the Reading; its labels run over 0 to k-1, k > 1.
  Raises:
    ValueError: where no rule holds for all names, or two that do sort the files differently.
  """
  word = _numbered(stems, _AFTER_WORD, "the number after 'class', 'label', 'cls', 'c' or 'y'")
  front = _numbered(stems, _IN_FRONT, "the number before its first '_' or '-'")
  letters = _lettered(stems)
  if front.labels is not None and len(set(front.labels)) == len(stems):
    front = front._replace(labels=None, why="no two files share one, so it may only count them")
  readings = (word, front, letters)
  held = [reading for reading in readings if reading.labels is not None]
  if not held:
    reasons = "; ".join(f"{reading.words}: {reading.why}" for reading in readings)
    raise ValueError(
      f"{path}: the names of its pictures do not tell their classes ({reasons}). {_SURE}"
    )
  first = held[0]
  for other in held[1:]:
    if (at := _first_difference(first, other)) is not None:
      raise ValueError(
        f"{path}: the class of a file could be {first.words} ({len(first.names)} classes), or "
        f"{other.words} ({len(other.names)} classes), which differ at {stems[at][:60]}. {_SURE}"
      )
  if first is not letters and letters in held:
    named = dict(zip(first.labels or (), letters.labels or ()))
    names = tuple(f"{label}_{letters.names[named[label]]}" for label in range(len(first.names)))
    return first._replace(names=names)
  return first


def _numbered(stems: tuple[str, ...], rule: re.Pattern, words: str) -> Reading:
  """The reading of a rule that finds the class's number once in each name."""
  found = [rule.findall(stem) for stem in stems]
  odd = next((row for row, numbers in enumerate(found) if len(numbers) != 1), None)
  if odd is not None:
    return Reading(words, None, why=f"{stems[odd][:60]} has {len(found[odd]) or 'none'}")
  labels = tuple(int(numbers[0]) for numbers in found)
  why = _not_whole(labels)
  return Reading(words, None if why else labels, tuple(map(str, sorted(set(labels)))), why)


def _not_whole(labels: tuple[int, ...]) -> str:
  """Why numbers are not 0 to k-1 with k > 1; empty where they are."""
  distinct = set(labels)
  if len(distinct) < 2:
    return f"all are {labels[0]}"
  missing = next((label for label in range(len(distinct)) if label not in distinct), None)
  return "" if missing is None else f"they run to {max(distinct)}, but no file has {missing}"


def _lettered(stems: tuple[str, ...]) -> Reading:
  """The reading of names of letters, numbers before or behind left out; classes by alphabet."""
  words = "the letters of its name"
  found = []
  for stem in stems:
    if (match := _LETTERS.fullmatch(stem)) is None:
      return Reading(words, None, why=f"{stem[:60]} has other signs too")
    found.append(match)
  forms = [(one[1] is None, one[3] is None) for one in found]
  if len(set(forms)) > 1:
    odd = next(row for row, form in enumerate(forms) if form != forms[0])
    return Reading(words, None, why=f"{stems[odd][:60]} has its numbers elsewhere")
  parts = [one[2].rstrip("_- ") for one in found]
  names = tuple(sorted(set(parts)))
  if len(names) < 2:
    return Reading(words, None, why=f"all are {parts[0][:60]!r}")
  index = {name: label for label, name in enumerate(names)}
  return Reading(words, tuple(index[part] for part in parts), names)


def _first_difference(one: Reading, other: Reading) -> int | None:
  """The first file that shares a class with an earlier one by one reading alone; None for none."""
  there, back = {}, {}
  for row, (a, b) in enumerate(zip(one.labels or (), other.labels or (), strict=True)):
    if there.setdefault(a, b) != b or back.setdefault(b, a) != a:
      return row
  return None


def _natural(stem: str) -> list[tuple[bool, int, str]]:
  """A key under which 2 comes before 10."""
  parts = re.split(r"([0-9]+)", stem)  # every other one is a number
  return [(at % 2 == 1, int(part) if at % 2 else 0, part) for at, part in enumerate(parts)]
