"""The task "pack": it says what is there, and replaces nothing unasked."""

import numpy as np
from PIL import Image
import pytest

from ddjax import errors
from ddjax.api import get_config
from ddjax.config import groups as groups_of
from ddjax.data import load, pack
from ddjax.data.facts import get_facts
from ddjax.data.source import Source
from ddjax.stages.run_folder import RunFolderError
from ddjax.tasks.start import start


def _pack(folder, argument="digits", overwrite=False, **fields):
  config = get_config(f"configs/pack.py:{argument}")
  config.data.update(fields)
  start(config, workdir=str(folder), overwrite=overwrite)


def _grey(seed):
  rng = np.random.default_rng(seed)
  images = rng.integers(0, 17, (30, 8, 8, 1)).astype(np.uint8)
  labels = (np.arange(30) % 10).astype(np.int32)
  return Source(images, labels, images[:10], labels[:10], tuple(map(str, range(10))), "1")


def test_again_it_is_there_and_stays(tmp_path, capsys):
  _pack(tmp_path)
  path = tmp_path / "digits.npz"
  said, content, time = capsys.readouterr().out, path.read_bytes(), path.stat().st_mtime_ns
  facts = get_facts("digits")
  assert pack.content_hash(pack.read(path, "digits", facts)) in said
  assert f"--config.data.data_dir={tmp_path}" in said
  _pack(tmp_path)
  assert "there already, with the same content" in capsys.readouterr().out
  assert path.stat().st_mtime_ns == time
  _pack(tmp_path, overwrite=True)
  assert path.read_bytes() == content
  assert [entry.name for entry in tmp_path.iterdir()] == ["digits.npz"]


@pytest.mark.parametrize("is_read_from", [False, True])
def test_another_set_or_a_damaged_one_goes_only_with_overwrite(tmp_path, monkeypatch, is_read_from):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path if is_read_from else tmp_path / "absent"))
  path = tmp_path / "digits.npz"
  pack.write(path, "digits", _grey(1), 16)
  with pytest.raises(
    RunFolderError, match="holds another content of 'digits'. --overwrite replaces it."
  ):
    _pack(tmp_path)
  path.write_bytes(path.read_bytes()[:-100])
  with pytest.raises(RunFolderError, match="npz is damaged.*[^.]. --overwrite replaces it."):
    _pack(tmp_path)
  _pack(tmp_path, overwrite=True)
  found = pack.read(path, "digits", get_facts("digits"))
  assert pack.content_hash(found) == pack.content_hash(load._read_digits())


def test_images_of_ones_own_become_what_npz_reads(tmp_path, capsys):
  for label in "ab":
    (tmp_path / "mine" / label).mkdir(parents=True)
    for number in range(10):
      image = np.full((6, 5), 10 * number + (label == "b"), np.uint8)
      Image.fromarray(image).save(tmp_path / "mine" / label / f"{number}.png")
  _pack(tmp_path / "packed", "folder", path=str(tmp_path / "mine"))
  path = tmp_path / "packed" / "folder.npz"
  assert f"--config.data.name=npz --config.data.path={path}" in capsys.readouterr().out
  one, other = groups_of.data("folder"), groups_of.data("npz")
  one.path, other.path = str(tmp_path / "mine"), str(path)
  of_folder, of_file = load.read_source(one), load.read_source(other)
  assert pack.content_hash(of_folder) == pack.content_hash(of_file)
  _pack(tmp_path / "again", "npz", path=str(path))
  found = pack.read(tmp_path / "again" / "npz.npz", "npz", get_facts("npz"))
  assert pack.content_hash(found) == pack.content_hash(of_file)


@pytest.mark.parametrize("has_test", [False, True])
def test_groups_of_ones_own_are_those_that_a_run_sees(tmp_path, has_test):
  """Given by name, packed, and read again as a run reads them."""
  images = np.random.default_rng(0).integers(0, 256, (40, 4, 4), np.uint8)
  labels, groups = np.arange(40) % 2, np.array(["old", "young"])[np.arange(40) % 4 // 2]
  test = dict(test_images=images[:8], test_labels=labels[:8], test_groups=groups[:8])
  mine = tmp_path / "mine.npz"
  np.savez(mine, images=images, labels=labels, groups=groups, **(test if has_test else {}))
  _pack(tmp_path / "packed", "npz", path=str(mine))
  one, other = groups_of.data("npz"), groups_of.data("npz")
  one.path, other.path = str(mine), str(tmp_path / "packed" / "npz.npz")
  of_mine, of_packed = load.load_real_data(one), load.load_real_data(other)
  assert of_packed.train_groups is not None and of_packed.test_groups is not None
  for name in ("train_images", "train_groups", "test_images", "test_groups"):
    np.testing.assert_array_equal(getattr(of_packed, name), getattr(of_mine, name))
  # Each image is another one, and brings its group along.
  group = {image.tobytes(): int(name == "young") for image, name in zip(images, groups)}
  seen = zip(of_packed.test_images, of_packed.test_groups)
  assert all(group[image.tobytes()] == of_image for image, of_image in seen)


def test_a_users_own_file_is_never_replaced(tmp_path):
  path = tmp_path / "npz.npz"
  np.savez(path, images=np.zeros((20, 4, 4), np.uint8), labels=np.arange(20) % 2)
  content = path.read_bytes()
  with pytest.raises(ValueError, match="is config.data.path itself"):
    _pack(tmp_path, "npz", overwrite=True, path=str(path))
  assert path.read_bytes() == content


def test_a_folder_that_cannot_be_written(tmp_path):
  (tmp_path / "file").write_text("in the way")
  with pytest.raises(errors.OutputError, match="file/packed/digits.npz: Not a directory"):
    _pack(tmp_path / "file" / "packed")


def test_a_full_disk_leaves_the_earlier_file(tmp_path, monkeypatch):
  path = tmp_path / "digits.npz"
  pack.write(path, "digits", _grey(1), 16)
  content = path.read_bytes()

  def full(*_):
    raise OSError(28, "No space left on device")

  with monkeypatch.context() as patch:
    patch.setattr("ddjax.files.atomic.os.fsync", full)
    with pytest.raises(errors.OutputError, match="No space left on device"):
      _pack(tmp_path, overwrite=True)
  assert path.read_bytes() == content
  assert [entry.name for entry in tmp_path.iterdir()] == ["digits.npz"]
