"""The task "pack": a data set, read as any run reads it, written as one file."""

from pathlib import Path

from ml_collections import ConfigDict

from ddjax.data import pack
from ddjax.data.facts import get_facts
from ddjax.data.load import read_source
from ddjax.data.source import DataError


def run_pack(config: ConfigDict, workdir: Path, *, overwrite: bool = False) -> str:
  """The task "pack": see `configs/pack.py`. Returns a summary.

  Raises:
    DataError: if the set cannot be read, or the file is there with other content.
  """
  name = config.data.name
  facts, path = get_facts(name), pack.packed_path(workdir, name)
  source = read_source(config.data)
  if path.exists() and not overwrite:
    if pack.content_hash(pack.read(path, name, facts)) != pack.content_hash(source):
      raise DataError(f"{path} holds other images of {name!r}; --overwrite replaces it.")
    return f"{path} is there already, with the same content."
  made = pack.write(path, name, source, facts.max_value)
  return (
    f"{name} {made['version']}: {made['num_train']} train and {made['num_test']} test images, "
    f"sha256 {made['sha256']}\n{path}, {path.stat().st_size / 2**20:.1f} MiB. To read it: "
    f"--config.data.data_dir={workdir}"
  )
