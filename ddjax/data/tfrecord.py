"""TFRecord files, read without TensorFlow.

Layout (https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details): for each
record its length u64, a checksum of the length u32, the record, a checksum of the record u32; all
little-endian. The checksum is CRC-32C, rotated and shifted by a constant.
"""

from collections.abc import Iterator
from pathlib import Path
import struct

import google_crc32c

_HEAD = struct.Struct("<QI")
_TAIL = struct.Struct("<I")


def read_records(path: Path) -> Iterator[bytes]:
  """The records of one file, in order.

  Raises:
    ValueError: for a file that ends within a record, or whose checksums do not fit.
  """
  with path.open("rb") as file:
    for number, head in enumerate(iter(lambda: file.read(_HEAD.size), b"")):
      # Of a damaged length nothing is read: it may be larger than the memory.
      if len(head) < _HEAD.size or _masked(head[:8]) != _HEAD.unpack(head)[1]:
        raise ValueError(f"{path.name} is damaged at the start of record {number}")
      length = _HEAD.unpack(head)[0]
      record, tail = file.read(length), file.read(_TAIL.size)
      if len(tail) < _TAIL.size or _masked(record) != _TAIL.unpack(tail)[0]:
        raise ValueError(f"{path.name} is damaged in record {number}")
      yield record


def _masked(data: bytes) -> int:
  """The checksum as it is stored."""
  value = google_crc32c.value(data)
  return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
