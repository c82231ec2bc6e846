"""Small distilled sets written in the layouts of other projects; no code of theirs."""

import io
import json

from flax import serialization
import numpy as np
from PIL import Image
import pyarrow as pa
from pyarrow import parquet

from ddjax.data.preprocess import Preprocessing
from ddjax.io.distilled import INFO_FIELDS, save_distilled
from ddjax.io.torch_file import write_torch
from ddjax.types import DistilledSet

NUM_CLASSES = 4
LABELS = np.repeat(np.arange(NUM_CLASSES), 2)
ONE_HOT = np.eye(NUM_CLASSES, dtype=np.float32)[LABELS]
SOFT = (0.1 / NUM_CLASSES + 0.9 * ONE_HOT).astype(np.float32)
CENTRED = ONE_HOT - np.float32(1 / NUM_CLASSES)
IMAGES = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype(np.float32)
PIXELS = (np.random.default_rng(1).integers(0, 256, IMAGES.shape) / np.float32(255)).astype(
  np.float32
)
BYTES = np.round(PIXELS * 255).astype(np.uint8)
NAMES = ("ship", "cat", "dog", "car", "bus")  # one more than has images


def first_channels(images):
  return images.transpose(0, 3, 1, 2)


def write_dc(folder):
  experiments = [[first_channels(IMAGES + shift), LABELS] for shift in range(3)]
  write_torch(
    path := folder / "res_DSA_FAKE_ConvNet_2ipc.pt",
    {"data": experiments, "accs_all_exps": {"ConvNet": [0.5, 0.25]}},
  )
  return path


def write_mtt(folder, labels=LABELS, name="best"):
  write_torch(path := folder / f"images_{name}.pt", first_channels(IMAGES))
  write_torch(folder / f"labels_{name.removeprefix('zca_')}.pt", labels)
  return path


def write_tensors(folder):
  write_torch(path := folder / "syn.pt", {"x_syn": first_channels(IMAGES), "y_syn": LABELS})
  return path


def safetensors(tensors, cut=0, **changes):
  """The bytes of a file of {name: (dtype, array)}; `changes` of the facts of its first tensor."""
  header, data = {}, b""
  for name, (dtype, array) in tensors.items():
    offsets = [len(data), len(data) + array.nbytes]
    header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
    data += array.tobytes()
  header[next(iter(tensors))] |= changes
  text = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
  return len(text).to_bytes(8, "little") + text + data[: len(data) - cut]


def write_safetensors(folder):
  tensors = {"x_syn": ("F32", first_channels(IMAGES)), "y_syn": ("I64", LABELS)}
  (path := folder / "syn.safetensors").write_bytes(safetensors(tensors))
  return path


def write_datm(folder):
  write_torch(folder / "lr_best.pt", np.array(0.02, np.float32))
  return write_mtt(folder, SOFT)


def write_idc(folder):
  write_torch(path := folder / "data.pt", [first_channels(PIXELS), LABELS])
  return path


def write_kip(folder):
  np.savez(
    path := folder / "ConvNet_ssize8_zca_nol_noaug_ckpt1000.npz", images=IMAGES, labels=CENTRED
  )
  return path


def write_rfad(folder):
  scalars = dict(k=np.array(4), jit=np.array(0.1), valid_loss=np.array(0.2))
  np.savez(path := folder / "best.npz", images=IMAGES, labels=CENTRED, **scalars)
  return path


def write_frepo_npz(folder):
  np.savez(path := folder / "saved.npz", image=IMAGES, label=CENTRED)
  return path


def write_checkpoint(folder):
  params = {"x_proto": IMAGES, "y_proto": CENTRED}
  average = {"x_proto": IMAGES + 1, "y_proto": CENTRED}
  tree = {"step": 3, "params": params, "ema_average": average, "opt_state": {"0": {}}}
  path = folder / "checkpoint_3"
  path.write_bytes(serialization.msgpack_serialize(tree))
  return path


def write_npz(folder):
  np.savez_compressed(path := folder / "plain.npz", images=IMAGES, labels=LABELS)
  return path


def write_export(folder):
  """As `ddjax.io.export` writes an npz."""
  facts = dict(kind="standardise", regularisation=None)
  record = dict(label_kind="one_hot", method="dm", decode_factor=1, learning_rate=0.5)
  np.savez(
    path := folder / "export.npz",
    images=PIXELS,
    labels=ONE_HOT,
    record=np.array(json.dumps(record | {"preprocessing": facts})),
    **{f"preprocessing/{name}": np.ones(1, np.float32) for name in ("mean", "std")},
  )
  return path


def write_own(folder):
  """As `ddjax.io.distilled` writes a set, without the record beside it."""
  preprocessing = Preprocessing(
    kind="standardise", mean=np.ones(1, np.float32), std=np.ones(1, np.float32)
  )
  info = dict.fromkeys(INFO_FIELDS) | dict(label_kind="one_hot", decode_factor=1, config={})
  path = save_distilled(folder, DistilledSet(IMAGES, ONE_HOT), info, preprocessing)
  path.with_name("info.json").unlink()
  return path


def write_png(folder):
  stored = np.round(PIXELS * 255).astype(np.uint8)
  for index, (image, label) in enumerate(zip(stored, LABELS)):
    place = folder / "pngs" / str(label)
    place.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[..., 0]).save(place / f"{index:02d}.png")
  return folder / "pngs"


def write_jpeg(folder):
  for index, (picture, label) in enumerate(zip(pictures("JPEG"), LABELS)):
    place = folder / "jpegs" / str(label)
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{index:02d}.jpg").write_bytes(picture)
  return folder / "jpegs"


def write_png_flat(folder):
  (place := folder / "flat").mkdir()
  stored = np.round(PIXELS * 255).astype(np.uint8)
  for index, (image, label) in enumerate(zip(stored, LABELS)):
    Image.fromarray(image[..., 0]).save(place / f"{label}_{'abcd'[label]}_{index:04d}.png")
  return place


def pictures(kind="PNG"):
  """The bytes of each of `PIXELS` as a picture."""
  out = []
  for image in np.round(PIXELS * 255).astype(np.uint8):
    Image.fromarray(image[..., 0]).save(buffer := io.BytesIO(), kind)
    out.append(buffer.getvalue())
  return out


def table(columns, features=None):
  """An Arrow table, with the features as Hugging Face's `datasets` notes them."""
  metadata = {"huggingface": json.dumps({"info": {"features": features or {}}})}
  return pa.table(columns).replace_schema_metadata(metadata)


_FEATURES = {
  "image": {"_type": "Image"},
  "label": {"names": ["0", "1", "2", "3"], "_type": "ClassLabel"},
}


def _rows(kind="PNG"):
  images = [{"bytes": picture, "path": "/etc/passwd"} for picture in pictures(kind)]
  return table({"image": images, "label": LABELS}, _FEATURES)


def write_huggingface(folder):
  """As `datasets` writes parquet, of pictures."""
  parquet.write_table(_rows(), path := folder / "train.parquet")
  return path


def write_huggingface_arrow(folder):
  """As its `save_to_disk` writes a stream, of JPEGs."""
  path = folder / "data-00000-of-00001.arrow"
  write_stream(path, _rows("JPEG"))
  return path


def write_huggingface_names(folder):
  """A stream of pictures, and of labels that are names."""
  columns = {"image": pictures(), "label": [f"class {label}" for label in LABELS]}
  write_stream(path := folder / "data-00000-of-00001.arrow", table(columns))
  return path


def write_huggingface_lists(folder):
  """Parquet of nested lists of floats, and a list for each label."""
  columns = {"image": IMAGES.tolist(), "label": SOFT.tolist()}
  parquet.write_table(table(columns), path := folder / "lists.parquet", compression="zstd")
  return path


def write_parquet(path, columns, features=None, **options):
  parquet.write_table(table(columns, features), path, **options)
  return path


def write_stream(path, rows, **options):
  """An Arrow stream of a table."""
  options = pa.ipc.IpcWriteOptions(**options)
  with pa.ipc.new_stream(path, rows.schema, options=options) as stream:
    stream.write_table(rows)
