"""Unpacks columns of a parquet file in a process of its own, into an uncompressed Arrow stream.

Four kilobytes of parquet can hold a hundred million equal numbers, and pyarrow unpacks what a page
says before anybody can count it; it ends the process on some wrong facts besides. Here that costs a
child, whose memory and time are bounded by the system, and whose output is read as a stranger's.
"""

import os
from pathlib import Path
import subprocess
import sys

import ddjax

_ROWS = 16  # of a batch
_PYTHON = 1 << 30  # bytes of addresses that Python and pyarrow take
_MEMORY = 4 << 30  # what a batch may take besides
_SECONDS = 600  # of computing
_MOST_MESSAGE = 2000  # bytes
_MOST_STRING, _MOST_ITEMS = 1 << 24, 1 << 20  # of the footer


def open_parquet(content: bytes):
  """The pyarrow.parquet.ParquetFile of these bytes; its footer alone has been read."""
  import pyarrow as pa
  from pyarrow import parquet

  return parquet.ParquetFile(
    pa.BufferReader(content),
    thrift_string_size_limit=_MOST_STRING,
    thrift_container_size_limit=_MOST_ITEMS,
  )


def unpack(path: str | os.PathLike, names: list[str], most: int) -> bytes:
  """Columns of a parquet file as an Arrow stream.

  Args:
    path: of the file.
    names: of its columns; others may come besides.
    most: bytes that it may unpack to.
  Raises:
    ValueError: where the process fails, with its last words, or writes more than `most` bytes.
  """
  command = [sys.executable, "-m", __name__, str(path), str(most), *names]
  root = str(Path(ddjax.__file__).parents[1])
  environment = os.environ | {
    "PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)]),
    "PYTHONSAFEPATH": "1",  # nothing is imported from the working folder
  }
  pipe = subprocess.PIPE
  with subprocess.Popen(
    command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=environment
  ) as process:
    assert process.stdout is not None and process.stderr is not None  # they are pipes
    try:
      content = process.stdout.read(most + 1)
      if len(content) > most:
        raise ValueError(f"more than {most} bytes when unpacked, too many for its size")
      words = process.stderr.read(_MOST_MESSAGE).decode(errors="replace").split("\n")
      if process.wait():
        said = next((line for line in reversed(words) if line.strip()), "nothing")
        raise ValueError(f"the process that unpacks it ended ({process.returncode}): {said[:200]}")
    finally:
      process.kill()
  return content


def main(path: str, most: str, *names: str) -> None:
  """What the process does: writes the stream to its standard output."""
  import resource

  import pyarrow as pa

  limit = _PYTHON + 2 * os.path.getsize(path) + _MEMORY
  resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
  resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
  resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
  with open(path, "rb") as file:
    parquet = open_parquet(file.read())
  batches = parquet.iter_batches(batch_size=_ROWS, columns=list(names), use_threads=False)
  stream, room = None, int(most)
  for batch in batches:
    batch.validate(full=True)
    room -= batch.nbytes
    if room < 0:
      raise ValueError(f"more than {most} bytes when unpacked, too many for its size")
    if stream is None:
      stream = pa.ipc.new_stream(sys.stdout.buffer, batch.schema)
    stream.write_batch(batch)
  if stream is not None:
    stream.close()
    sys.stdout.flush()


if __name__ == "__main__":
  try:
    main(*sys.argv[1:])
  except Exception as error:
    raise SystemExit(" ".join(f"{type(error).__name__}: {error}".split())[:_MOST_MESSAGE]) from None
