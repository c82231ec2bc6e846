"""Reading a TensorFlow Datasets image classification set, in either of its file formats.

Prepared folders, of array_record files or of tfrecord files, are read without TensorFlow. Where the
folder is absent, TFDS downloads and prepares it; that alone needs TensorFlow.
"""

from concurrent.futures import ThreadPoolExecutor
import contextlib
import importlib.util
import os
from pathlib import Path
import sys
import threading
from typing import Any
import urllib.error
import urllib.request

from absl import logging
import numpy as np

from ddjax.data.facts import Facts
from ddjax.data.source import DataError, Source
from ddjax.data.tfrecord import read_records

_PROBE_SECONDS = 5.0


def tfds_dir(data_dir: str | None) -> Path:
  """The folder of packed or prepared sets: as given, else `TFDS_DATA_DIR`, else TFDS's own."""
  folder = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
  return Path(folder).expanduser()


def find_prepared(facts: Facts, data_dir: Path) -> Path | None:
  """The folder of the newest prepared version, or None."""
  assert facts.tfds_name is not None
  versions = data_dir.joinpath(facts.tfds_name).glob("*/dataset_info.json")
  numbered = [path.parent for path in versions if path.parent.name.replace(".", "").isdigit()]
  return max(numbered, key=lambda path: tuple(map(int, path.name.split("."))), default=None)


def read_prepared(name: str, folder: Path) -> Source:
  """Decodes a prepared folder, in the order of its files.

  Args:
    name: of the data set, for messages.
    folder: `.../NAME/VERSION`, as TFDS prepared it.
  Returns:
    the train and the test split.
  Raises:
    DataError: if the folder cannot be read, has no train or test split, or no images of one size.
  """
  with _quiet():
    import tensorflow_datasets as tfds

    try:
      builder = tfds.builder_from_directory(folder)
      splits = {split: _read_split(builder, split) for split in ("train", "test")}
    except Exception as error:  # whatever TFDS, its file formats or Pillow raise
      raise DataError(
        f"Cannot read data set {name!r} from {folder} ({error}). If it is damaged, remove it and "
        "it is prepared again; or name another place with --config.data.data_dir."
      ) from error
  (train_images, train_labels), (test_images, test_labels) = splits["train"], splits["test"]
  return Source(
    train_images,
    train_labels,
    test_images,
    test_labels,
    class_names=_class_names(builder),
    version=folder.name,
  )


def prepare(name: str, facts: Facts, data_dir: Path, download: bool) -> Path:
  """Lets TFDS download a set and write it as array_record files.

  Args:
    name: of the data set, for messages.
    facts: its row in the table.
    data_dir: where TFDS keeps prepared sets.
    download: False refuses, with the message that says so.
  Returns:
    the prepared folder.
  Raises:
    DataError: naming the set, the folder and what to do, if it cannot be had.
  """
  advice = (
    f"Data set {name!r} is not in {data_dir}, and it cannot be downloaded: {{}} Name the folder "
    f"that holds {facts.tfds_name}/VERSION, or {name}.npz of configs/pack.py, with TFDS_DATA_DIR "
    "or --config.data.data_dir, or take --config.data.name=digits, which needs no download."
  )
  if not download:
    raise DataError(advice.format("config.data.download is False."))
  if importlib.util.find_spec("tensorflow") is None:
    raise DataError(
      advice.format(
        "TFDS prepares it with TensorFlow, which is not installed: run "
        f"`{sys.executable} -m pip install tensorflow` once."
      )
    )
  assert facts.tfds_name is not None and facts.probe_url is not None
  if reason := _probe(facts.probe_url):
    raise DataError(advice.format(f"no answer from {facts.probe_url} ({reason})."))
  logging.info("Downloading %s, about %d MB, into %s.", name, facts.download_mb, data_dir)
  with _quiet():
    import tensorflow_datasets as tfds

    try:
      _keep_tensorflow_off_accelerators()
      builder = tfds.builder(facts.tfds_name, data_dir=data_dir, file_format="array_record")
      # TFDS names what it extracts by file name alone, so each set needs a folder of its own.
      builder.download_and_prepare(download_dir=data_dir / "downloads" / facts.tfds_name)
    except Exception as error:
      raise DataError(advice.format(f"TFDS says: {error}.")) from error
  folder = find_prepared(facts, data_dir)
  if folder is None:
    raise DataError(advice.format("TFDS left no prepared folder."))
  return folder


def _read_split(builder, split: str) -> tuple[np.ndarray, np.ndarray]:
  """Images u8[n h w c] and labels i32[n] of one split."""
  import tensorflow_datasets as tfds

  image_key, label_key = _keys(builder)
  info = builder.info
  count = info.splits[split].num_examples
  with ThreadPoolExecutor() as pool:  # Pillow decodes without holding the interpreter's lock
    if info.file_format == tfds.core.FileFormat.TFRECORD:
      records = [x for path in info.splits[split].filepaths for x in read_records(Path(path))]
      if len(records) != count:
        raise ValueError(f"its {split} files hold {len(records)} of {count} examples")
      examples = list(pool.map(info.features.deserialize_example_np, records))
    else:
      source = builder.as_data_source(split=split)
      blocks = [range(start, min(start + 1000, count)) for start in range(0, count, 1000)]
      examples = [x for block in pool.map(source.__getitems__, blocks) for x in block]
  images = np.stack([example[image_key] for example in examples])
  return images, np.array([example[label_key] for example in examples], np.int32)


def _class_names(builder: Any) -> tuple[str, ...]:
  _, label_key = _keys(builder)
  return tuple(builder.info.features[label_key].names)


def _keys(builder) -> tuple[str, str]:
  """Names of the image and of the label; sets stored without a builder do not say."""
  return builder.info.supervised_keys or ("image", "label")


def _probe(url: str) -> str | None:
  """None if `url` answers within a few seconds, else the reason. Honours proxies."""
  outcome: list[str | None] = ["time-out"]

  def ask():
    try:
      request = urllib.request.Request(url, method="HEAD")
      urllib.request.urlopen(request, timeout=_PROBE_SECONDS).close()
      outcome[0] = None
    except urllib.error.HTTPError as error:
      outcome[0] = None if error.code == 405 else str(error)  # 405: there, but takes no HEAD
    except (OSError, ValueError) as error:
      outcome[0] = str(getattr(error, "reason", error))

  thread = threading.Thread(target=ask, daemon=True)  # looking up a name has no time-out of its own
  thread.start()
  thread.join(_PROBE_SECONDS)
  return outcome[0]


def _keep_tensorflow_off_accelerators() -> None:
  """Imports TensorFlow, quietly, and leaves the accelerators' memory to JAX."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  import tensorflow as tf

  tf.config.set_visible_devices([], "GPU")
  tf.config.set_visible_devices([], "TPU")


@contextlib.contextmanager
def _quiet():
  """Silences the advice that TFDS logs as warnings."""
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    yield
  finally:
    logging.set_verbosity(verbosity)
