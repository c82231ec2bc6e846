"""The task "pack": a data set, read as any run reads it, written as one file."""

from pathlib import Path

from ml_collections import ConfigDict

from ddjax.data import pack
from ddjax.data.facts import Facts, get_facts
from ddjax.data.load import read_source
from ddjax.data.source import DataError
from ddjax.data.tfds_source import tfds_dir
from ddjax.stages.estimate import Estimate
from ddjax.stages.run_folder import RunFolderError
from ddjax.tasks.task import Outcome

_REPLACE = "--overwrite replaces it."


def estimate(config: ConfigDict) -> Estimate:
  """What `run` would cost, in words."""
  return Estimate({}, {}, None, "a minute at most, to read and write the set")


def run(config: ConfigDict, workdir: Path, *, overwrite: bool = False) -> Outcome:
  """The task "pack": see `configs/pack.py`.

  Raises:
    DataError: if the set cannot be read.
    RunFolderError: if the file is there and is not the same set.
    ValueError: if the file would take the place of the user's own.
    atomic.OutputError: if it cannot be written.
  """
  name = config.data.name
  facts, path = get_facts(name), pack.packed_path(workdir, name)
  if config.data.path and Path(config.data.path).expanduser().resolve() == path.resolve():
    raise ValueError(f"{path} is config.data.path itself; choose another --workdir.")
  packed = None
  if path.exists() and not overwrite:
    try:
      packed = pack.read(path, name, facts)
    except DataError as error:
      raise RunFolderError(f"{str(error).rstrip('.')}.", _REPLACE) from error
  # In a folder that is read from, too, the file is held against what it was made of.
  is_read_from = tfds_dir(config.data.data_dir).resolve() == workdir.resolve()
  source = read_source(config.data, use_packed=not is_read_from)
  if packed is not None:
    if pack.content_hash(packed) != pack.content_hash(source):
      raise RunFolderError(f"{path} holds another content of {name!r}.", _REPLACE)
    return Outcome(workdir, None, f"{path} is there already, with the same content.")
  made = pack.write(path, name, source, facts.max_value)
  summary = (
    f"{name} {made['version']}: {made['num_train']} train and {made['num_test']} test images, "
    f"sha256 {made['sha256']}\n{path}, {path.stat().st_size / 2**20:.1f} MiB. "
    f"To read it: {_fields(path, facts)}"
  )
  return Outcome(workdir, None, summary)


def _fields(path: Path, facts: Facts) -> str:
  """The fields that make a run take the file."""
  if facts.image_shape is None:
    return f"--config.data.name=npz --config.data.path={path}"
  return f"--config.data.data_dir={path.parent}"
