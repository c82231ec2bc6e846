import hashlib
import importlib.util
import io
import json
import subprocess
import sys
import types

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
import numpy as np
from PIL import Image
import pytest
from tensorboardX.record_writer import RecordWriter

from ddjax.config import groups
from ddjax.data import load, pack, tfds_source
from ddjax.data.facts import FACTS, Facts
from ddjax.data.load import load_real_data
from ddjax.data.source import DataError

TINY = Facts(
  image_shape=(8, 8, 1),
  num_classes=2,
  tfds_name="tiny",
  probe_url="http://localhost:9/tiny",
  download_mb=1,
)
IMAGES = np.random.RandomState(0).randint(0, 256, (9, 8, 8, 1)).astype(np.uint8)
LABELS = np.arange(9) % 2


@pytest.fixture(autouse=True)
def tiny_set(tmp_path, monkeypatch):
  monkeypatch.setenv("DDJAX_CACHE_DIR", str(tmp_path / "cache"))
  monkeypatch.setitem(FACTS, "tiny", TINY)


def write_prepared(data_dir, version="1.0.0"):
  """A prepared folder of array_record files, made without TFDS's own writer."""
  from tensorflow_datasets.proto import tf_example_pb2

  folder = data_dir / "tiny" / version
  folder.mkdir(parents=True)
  for split, rows in (("train", slice(0, 6)), ("test", slice(6, 9))):
    writer = ArrayRecordWriter(str(folder / f"tiny-{split}.array_record-00000-of-00001"))
    for image, label in zip(IMAGES[rows], LABELS[rows]):
      png = io.BytesIO()
      Image.fromarray(image[..., 0]).save(png, "png")
      example = tf_example_pb2.Example()
      example.features.feature["image"].bytes_list.value.append(png.getvalue())
      example.features.feature["label"].int64_list.value.append(int(label))
      writer.write(example.SerializeToString())
    writer.close()
  splits = [
    dict(
      name=name,
      numBytes="1",
      shardLengths=[str(count)],
      filepathTemplate="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    )
    for name, count in (("train", 6), ("test", 3))
  ]
  info = dict(name="tiny", version=version, fileFormat="array_record", splits=splits)
  (folder / "dataset_info.json").write_text(json.dumps(info))
  features = "tensorflow_datasets.core.features."
  image = dict(dtype="uint8", shape=dict(dimensions=["8", "8", "1"]))
  both = dict(
    image=dict(pythonClassName=features + "image_feature.Image", image=image),
    label=dict(
      pythonClassName=features + "class_label_feature.ClassLabel", classLabel=dict(numClasses="2")
    ),
  )
  whole = dict(
    pythonClassName=features + "features_dict.FeaturesDict", featuresDict=dict(features=both)
  )
  (folder / "features.json").write_text(json.dumps(whole))
  (folder / "label.labels.txt").write_text("even\nodd\n")
  return folder


def config(data_dir, **fields):
  result = groups.data("tiny")
  result.update(dict(data_dir=str(data_dir)) | fields)
  return result


def test_array_record_is_read_in_order(tmp_path, capfd):
  write_prepared(tmp_path)
  real = load_real_data(config(tmp_path))
  np.testing.assert_array_equal(real.train_images, IMAGES[:6])
  np.testing.assert_array_equal(real.train_labels, LABELS[:6])
  np.testing.assert_array_equal(real.test_images, IMAGES[6:])
  assert real.class_names == ("even", "odd") and real.version == "1.0.0"
  assert "OpenCV" not in capfd.readouterr().err


def test_second_start_does_not_decode_but_sees_a_changed_folder(tmp_path, monkeypatch):
  folder = write_prepared(tmp_path)
  first = load_real_data(config(tmp_path))
  monkeypatch.setattr(tfds_source, "read_prepared", None)
  assert load_real_data(config(tmp_path)).fingerprint == first.fingerprint
  (folder / "label.labels.txt").write_text("odd\neven\nand a change of size")
  with pytest.raises(TypeError):
    load_real_data(config(tmp_path))


def test_a_packed_set_wins_and_has_the_whitened_images_of_the_prepared_one(tmp_path, monkeypatch):
  write_prepared(tmp_path)
  fields = dict(preprocessing="zca_kip")
  prepared = load_real_data(config(tmp_path, **fields))
  whitened = load.make_data_split(prepared).images
  pack.write(tmp_path / "tiny.npz", "tiny", load.read_source(config(tmp_path)), 255)
  monkeypatch.setattr(load, "_whiten", None)  # where the key differs it would be called
  monkeypatch.setattr(tfds_source, "find_prepared", None)
  packed = load_real_data(config(tmp_path, **fields))
  assert packed.fingerprint == prepared.fingerprint and packed.version == "1.0.0"
  np.testing.assert_array_equal(load.make_data_split(packed).images, whitened)


def test_newest_version_is_taken(tmp_path):
  for version in ("3.9.1", "3.10.0", "3.0.2"):
    folder = tmp_path / "tiny" / version
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
  (tmp_path / "tiny" / "4.0.0").mkdir()  # begun, not finished
  assert tfds_source.find_prepared(TINY, tmp_path).name == "3.10.0"
  assert tfds_source.find_prepared(TINY, tmp_path / "absent") is None


def test_folder_of_prepared_sets(monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", "/from/environment")
  assert str(tfds_source.tfds_dir("/given")) == "/given"
  assert str(tfds_source.tfds_dir(None)) == "/from/environment"
  monkeypatch.delenv("TFDS_DATA_DIR")
  assert tfds_source.tfds_dir(None).name == "tensorflow_datasets"


def test_damaged_folder_is_named(tmp_path):
  folder = write_prepared(tmp_path)
  (folder / "features.json").write_text("{")
  with pytest.raises(DataError, match=f"'tiny' from {folder}"):
    load_real_data(config(tmp_path))


def test_wrong_row_of_the_table_is_said(tmp_path, monkeypatch):
  write_prepared(tmp_path)
  monkeypatch.setitem(FACTS, "tiny", TINY._replace(image_shape=(8, 8, 3)))
  with pytest.raises(DataError, match=r"\(8, 8, 1\), but the row 'tiny'.*\(8, 8, 3\)"):
    load_real_data(config(tmp_path))


def test_absent_without_network(tmp_path, monkeypatch):
  monkeypatch.setattr(tfds_source.importlib.util, "find_spec", lambda name: name)
  with pytest.raises(DataError) as error:  # nothing listens on the port of the row
    load_real_data(config(tmp_path))
  for part in ("'tiny'", str(tmp_path), "no answer from http://localhost:9/tiny", "data_dir"):
    assert part in str(error.value)


def test_absent_and_download_forbidden(tmp_path, monkeypatch):
  monkeypatch.setattr(tfds_source, "_probe", None)
  with pytest.raises(DataError, match="config.data.download is False"):
    load_real_data(config(tmp_path, download=False))


def test_absent_with_network_is_prepared_in_a_download_folder_of_its_own(tmp_path, monkeypatch):
  import tensorflow_datasets as tfds

  asked = {}

  def make_builder(name, data_dir, file_format):
    def download_and_prepare(download_dir):
      asked.update(name=name, file_format=file_format, download_dir=download_dir)
      write_prepared(data_dir)

    return types.SimpleNamespace(download_and_prepare=download_and_prepare)

  monkeypatch.setattr(tfds_source, "_probe", lambda url: None)
  monkeypatch.setattr(tfds_source.importlib.util, "find_spec", lambda name: name)
  monkeypatch.setattr(tfds_source, "_keep_tensorflow_off_accelerators", lambda: None)
  monkeypatch.setattr(tfds, "builder", make_builder)
  real = load_real_data(config(tmp_path))
  np.testing.assert_array_equal(real.train_images, IMAGES[:6])
  assert asked == dict(
    name="tiny", file_format="array_record", download_dir=tmp_path / "downloads" / "tiny"
  )


def test_preparing_without_tensorflow_is_one_sentence(tmp_path, monkeypatch):
  monkeypatch.setattr(tfds_source.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(DataError, match="'tiny'.*pip install tensorflow` once"):
    load_real_data(config(tmp_path))


def test_failing_download_is_one_sentence(tmp_path, monkeypatch):
  import tensorflow_datasets as tfds

  def fail(*args, **keywords):
    raise OSError("checksum differs")

  monkeypatch.setattr(tfds_source, "_probe", lambda url: None)
  monkeypatch.setattr(tfds_source.importlib.util, "find_spec", lambda name: name)
  monkeypatch.setattr(tfds_source, "_keep_tensorflow_off_accelerators", lambda: None)
  monkeypatch.setattr(tfds, "builder", fail)
  with pytest.raises(DataError, match="'tiny'.*TFDS says: checksum differs"):
    load_real_data(config(tmp_path))


def as_tfrecord(folder):
  """Turns the files of a folder into tfrecord files, by tensorboardX's writer."""
  for path in list(folder.glob("*.array_record-*")):
    records = ArrayRecordReader(str(path)).read_all()
    writer = RecordWriter(str(path.with_name(path.name.replace("array_record", "tfrecord"))))
    for record in records:
      writer.write(record)
    writer.close()
    path.unlink()
  info = json.loads((folder / "dataset_info.json").read_text())
  (folder / "dataset_info.json").write_text(json.dumps(info | dict(fileFormat="tfrecord")))


def test_tfrecord_files_give_what_array_record_files_give(tmp_path):
  folder = write_prepared(tmp_path)
  expected = load_real_data(config(tmp_path))
  as_tfrecord(folder)
  real = load_real_data(config(tmp_path))
  np.testing.assert_array_equal(real.train_images, IMAGES[:6])
  assert real.fingerprint == expected.fingerprint and real.class_names == ("even", "odd")


@pytest.mark.parametrize("damage", ["byte", "end", "records"])
def test_a_damaged_tfrecord_file_is_named(tmp_path, damage):
  folder = write_prepared(tmp_path)
  as_tfrecord(folder)
  (path,) = folder.glob("*train*")
  content = bytearray(path.read_bytes())
  record_size = len(content) // 6
  if damage == "byte":
    content[record_size // 2] ^= 1
  kept = {"byte": len(content), "end": len(content) - 3, "records": 0}[damage]
  path.write_bytes(content[:kept])
  said = {"byte": "damaged in record 0", "end": "damaged in record 5", "records": "0 of 6"}[damage]
  with pytest.raises(DataError, match=f"'tiny' from {folder}.*{said}"):
    load_real_data(config(tmp_path))


TFRECORD = """
import hashlib, sys
import numpy as np
import tensorflow_datasets as tfds
from ddjax.data import load, pack, tfds_source
from ddjax.data.facts import Facts

images = np.random.RandomState(0).randint(0, 256, (9, 8, 8, 1)).astype(np.uint8)
features = tfds.features.FeaturesDict(dict(
  image=tfds.features.Image(shape=(8, 8, 1), dtype=np.uint8),
  label=tfds.features.ClassLabel(names=["even", "odd"]),
))
examples = [(i, dict(image=image, label=i % 2)) for i, image in enumerate(images)]
tfds.dataset_builders.store_as_tfds_dataset(
  "tiny", version="1.0.0", features=features, data_dir=sys.argv[1], file_format="tfrecord",
  split_datasets=dict(train=examples[:6], test=examples[6:]), disable_shuffling=True,
)
facts = Facts(image_shape=(8, 8, 1), num_classes=2, tfds_name="tiny")
folder = tfds_source.find_prepared(facts, tfds_source.tfds_dir(sys.argv[1]))
source = tfds_source.read_prepared("tiny", folder)
assert source.train_labels.tolist() == [0, 1, 0, 1, 0, 1] and source.class_names == ("even", "odd")
print(hashlib.sha256(source.train_images.tobytes() + source.test_images.tobytes()).hexdigest())
"""


@pytest.mark.skipif(not importlib.util.find_spec("tensorflow"), reason="TensorFlow writes them")
def test_tfrecord_files_of_tensorflow_are_read_in_order(tmp_path):
  """In a process of its own: TensorFlow stays out of this one."""
  done = subprocess.run(
    [sys.executable, "-c", TFRECORD, str(tmp_path)], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.split()[-1] == hashlib.sha256(IMAGES.tobytes()).hexdigest()
