"""A distilled set comes back as it was saved, or is refused by file and field."""

import json

from absl import logging
import numpy as np
import pytest

from ddjax.data.preprocess import fit_preprocessing
from ddjax.files import atomic
from ddjax.io import distilled
from ddjax.types import DistilledSet

_RNG = np.random.default_rng(0)
_INFO = {
  "label_kind": "centred",
  "method": "kip",
  "dataset": "fake",
  "ipc": 1,
  "seed": 0,
  "step": 7,
  "learning_rate": None,
  "member_hash": None,
  "real_data_hash": "abc",
  "decode_factor": 1,
  "config": {"method": "kip"},
}


def _set(seed=0):
  rng = np.random.default_rng(seed)
  return DistilledSet(
    images=rng.normal(size=(4, 3, 3, 2)).astype(np.float32),
    labels=rng.normal(size=(4, 4)).astype(np.float32),
  )


def _preprocessing(kind="standardise"):
  images = _RNG.integers(0, 256, (40, 3, 3, 2)).astype(np.uint8)
  return fit_preprocessing(kind, images)


def _save(folder, one=None, **info):
  return distilled.save_distilled(folder, one or _set(), _INFO | info, _preprocessing())


def _rewrite(path, **changes):
  """Writes the npz with other arrays; None leaves one out."""
  with np.load(path) as file:
    arrays = dict(file) | changes
  path.write_bytes(atomic.npz_bytes({k: v for k, v in arrays.items() if v is not None}))


@pytest.mark.parametrize("kind", ["none", "standardise", "zca_kip", "zca_kornia", "zca_frepo"])
def test_round_trip_with_its_preprocessing(tmp_path, kind):
  one, preprocessing = _set(), _preprocessing(kind)
  folder = tmp_path / "run" / "distilled"
  path = distilled.save_distilled(folder, one, _INFO, preprocessing)
  for place in (tmp_path / "run", folder, path):
    loaded = distilled.load_distilled(place)
    np.testing.assert_array_equal(loaded.images, one.images)
    np.testing.assert_array_equal(loaded.labels, one.labels)
    assert loaded.images.dtype == loaded.labels.dtype == np.float32
    assert loaded.info["preprocessing"].same_as(preprocessing)
    assert {key: loaded.info[key] for key in _INFO} == _INFO


def test_info_json_repeats_the_record_with_a_digest(tmp_path):
  _save(tmp_path)
  info = json.loads((tmp_path / "info.json").read_text())
  assert info["preprocessing"]["kind"] == "standardise"
  assert info["step"] == 7 and len(info["npz_sha256"]) == 64 and info["code_version"]


def test_same_set_same_bytes(tmp_path):
  pre = _preprocessing()
  paths = [distilled.save_distilled(tmp_path / name, _set(), _INFO, pre) for name in ("a", "b")]
  assert paths[0].read_bytes() == paths[1].read_bytes()


def test_killed_between_the_two_files(tmp_path, monkeypatch):
  _save(tmp_path)
  with monkeypatch.context() as patch:
    patch.setattr(atomic, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
      _save(tmp_path, _set(1), step=8)
  warnings = []
  monkeypatch.setattr(logging, "warning", lambda text, *args: warnings.append(text % args))
  loaded = distilled.load_distilled(tmp_path)
  assert loaded.info["step"] == 8
  np.testing.assert_array_equal(loaded.images, _set(1).images)
  assert len(warnings) == 1 and "info.json" in warnings[0]


def test_no_warning_where_the_two_agree(tmp_path, monkeypatch):
  monkeypatch.setattr(logging, "warning", lambda *_: pytest.fail("a warning"))
  _save(tmp_path)
  distilled.load_distilled(tmp_path)


def test_refuses_to_save_what_is_not_finite_and_keeps_the_earlier_set(tmp_path):
  _save(tmp_path)
  bad = _set(1)
  bad.images[2, 1, 0, 1] = np.nan
  with pytest.raises(ValueError, match=r"'images' holds nan at \(2, 1, 0, 1\)"):
    _save(tmp_path, bad)
  np.testing.assert_array_equal(distilled.load_distilled(tmp_path).images, _set().images)


def test_refuses_to_save_an_incomplete_record(tmp_path):
  info = {key: value for key, value in _INFO.items() if key != "seed"}
  with pytest.raises(ValueError, match="lacks seed"):
    distilled.save_distilled(tmp_path, _set(), info, _preprocessing())
  with pytest.raises(ValueError, match="'centered'.*Did you mean 'centred'"):
    _save(tmp_path, label_kind="centered")
  with pytest.raises(ValueError, match=r"\(1, 4, 3, 3, 2\)"):
    _save(tmp_path, DistilledSet(_set().images[None], _set().labels[None]))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"info": None}, "no field 'info'.*no preprocessing"),
    ({"info": np.array("{")}, "'info' is not JSON"),
    ({"info": np.array("[]")}, "'info' is not a JSON object"),
    ({"info": np.array(json.dumps(_INFO))}, "no preprocessing"),
    ({"images": None}, "no field 'images'"),
    ({"labels": None}, "no field 'labels'"),
    ({"preprocessing/mean": None}, "preprocessing cannot be rebuilt.*mean"),
    ({"preprocessing/std": np.full(2, np.inf)}, "'preprocessing/std' holds inf"),
    ({"preprocessing/mean": np.zeros(5, np.float32)}, r"preprocessing has mean \[5\]"),
    ({"images": np.zeros((4, 3, 3))}, "not .n h w c."),
    ({"labels": np.zeros((3, 4))}, "not .n h w c. and .n k."),
    ({"labels": np.full((4, 4), np.nan)}, "'labels' holds nan"),
    ({"images": np.full((4, 3, 3, 2), "x")}, "'images' holds <U1"),
  ],
)
def test_refuses_to_load_by_file_and_field(tmp_path, changes, message):
  path = _save(tmp_path)
  _rewrite(path, **changes)
  with pytest.raises(ValueError, match=message) as error:
    distilled.load_distilled(tmp_path)
  assert str(path) in str(error.value)


def test_refuses_objects_without_running_them(tmp_path):
  ran = tmp_path / "ran"

  class Trap:
    def __reduce__(self):
      return (ran.touch, ())

  path = _save(tmp_path)
  with np.load(path) as file:
    arrays = dict(file)
  with path.open("wb") as file:
    np.savez(file, **(arrays | {"images": np.array([Trap()], object)}))
  with pytest.raises(ValueError, match=str(path)):
    distilled.load_distilled(path)
  assert not ran.exists()


def test_a_damaged_file_is_always_a_clear_error(tmp_path):
  path = _save(tmp_path)
  content = path.read_bytes()
  rng = np.random.default_rng(0)
  for _ in range(300):
    damaged = bytearray(content[: rng.integers(1, len(content) + 1)])
    for place in rng.integers(0, len(damaged), 3):
      damaged[place] ^= int(rng.integers(1, 256))
    path.write_bytes(damaged)
    try:
      loaded = distilled.load_distilled(path)
    except ValueError as error:
      assert str(path) in str(error)
    else:  # a byte that no checksum covers, such as a date
      np.testing.assert_array_equal(loaded.images, _set().images)


def test_missing_set_names_the_places(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"distilled/distilled\.npz"):
    distilled.load_distilled(tmp_path)
