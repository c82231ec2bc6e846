"""Mutated files: every one is read or is a clear error; none runs code, crashes or hangs.

Bytes are mutated in the file itself, and inside the records of a zip, whose checksums are then made
anew, so that the mutation reaches the reader behind them. Programs of random opcodes come besides.
"""

import codecs
import io
from pathlib import Path
import pickle
import pickletools
import signal
import sys
import warnings
import zipfile

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from ddjax.io.distilled import load_distilled
from ddjax.io.foreign.foreign_set import ForeignOptions, ForeignSet
from ddjax.io.foreign.read import read_foreign
from ddjax.io.torch_file import read_torch
from ddjax.types import DistilledSet
from tests.io import foreign_files as files

_SECONDS = 20  # a file that takes longer hangs; the slowest of 10,000 took well under a second
_HARMLESS = ("os.listdir", "os.scandir", "open")
_FORBIDDEN = ("exec", "import", "os.", "subprocess.", "pickle.", "ctypes.", "socket.", "shutil.")
_OUR_PROCESS = ["-m", "ddjax.io.foreign.parquet_process"]  # which unpacks parquet
_WRITERS = {
  "dc": files.write_dc,
  "mtt": files.write_datm,
  "tensors": files.write_tensors,
  "safetensors": files.write_safetensors,
  "idc": files.write_idc,
  "kip": files.write_kip,
  "rfad": files.write_rfad,
  "frepo_npz": files.write_frepo_npz,
  "checkpoint": files.write_checkpoint,
  "npz": files.write_npz,
  "npz export": files.write_export,
  "own": files.write_own,
  "png": files.write_png,
  "png jpeg": files.write_jpeg,
  "png_flat": files.write_png_flat,
  "huggingface": files.write_huggingface,
  "huggingface arrow": files.write_huggingface_arrow,
  "huggingface names": files.write_huggingface_names,
  "huggingface lists": files.write_huggingface_lists,
}
_SEEDS: dict[str, tuple[Path, Path, bytes]] = {}
"""{layout: (path that is read, file that is mutated, its bytes)}."""
_watching = [False]
_seen: list[str] = []


def _watch(event, arguments):
  if event == "subprocess.Popen" and list(arguments[1][1:3]) == _OUR_PROCESS:
    return
  if _watching[0] and event.startswith(_FORBIDDEN) and event not in _HARMLESS:
    _seen.append(f"{event} {arguments!r:.200}")


@pytest.fixture(scope="module", autouse=True)
def _seeds(tmp_path_factory):
  """A good file in every layout, read once, so that every import is done."""
  sys.addaudithook(_watch)
  codecs.lookup("raw_unicode_escape")  # of text in pickles; imported when it is first used
  for layout, write in _WRITERS.items():
    folder = tmp_path_factory.mktemp(layout)
    path = write(folder)
    if layout == "own":
      load_distilled(path)
    else:
      read_foreign(path, _options(layout))
    file = next(path.rglob("*.*g")) if path.is_dir() else path
    _SEEDS[layout] = (path, file, file.read_bytes())
  path = tmp_path_factory.mktemp("legacy") / "res_DC_old.pt"
  content = Path("tests/reference/torch_file_legacy.pt").read_bytes()
  path.write_bytes(content)
  read_torch(path)
  _SEEDS["legacy"] = (path, path, content)


def _options(layout):
  return ForeignOptions(layout=layout.split()[0], decode_factor=2, space="network")


def _read(path, layout):
  """Reads a file under watch; returns what was read, or the error."""
  _seen.clear()
  signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"hangs: {path}", pytrace=False))
  signal.setitimer(signal.ITIMER_REAL, _SECONDS)
  _watching[0] = True
  try:
    if layout is None:
      return read_torch(path)
    if layout == "own":
      return load_distilled(path)
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      return read_foreign(path, _options(layout))
  except ValueError as error:
    return error
  finally:
    _watching[0] = False
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert not _seen, _seen


def _check(result, path):
  """A set whose arrays are sound, or a sentence that names the file."""
  if isinstance(result, ValueError):
    text = str(result)
    assert str(path) in text or str(path.parent) in text or str(path.parent.parent) in text
    assert len(str(path)) + 10 < len(text) < 1000
  elif isinstance(result, ForeignSet | DistilledSet):
    assert result.images.ndim == 4 and result.labels.ndim == 2
    assert len(result.images) == len(result.labels)
    assert np.isfinite(result.images).all() and np.isfinite(result.labels).all()


_MUTATIONS = st.lists(
  st.tuples(
    st.sampled_from(["flip", "insert", "remove", "cut", "repeat"]),
    st.floats(0, 1, exclude_max=True),
    st.binary(min_size=1, max_size=8),
  ),
  min_size=1,
  max_size=4,
)


def _mutate(content, mutations):
  content = bytearray(content)
  for kind, place, words in mutations:
    at = int(place * len(content))
    if kind == "flip":
      content[at : at + len(words)] = words
    elif kind == "insert":
      content[at:at] = words
    elif kind == "remove":
      del content[at : at + len(words)]
    elif kind == "cut":
      del content[at:]
    else:
      content[at:at] = content[at : at + 64]
  return bytes(content)


def _mutate_record(content, which, mutations):
  """A zip with one record mutated, its checksums right."""
  with zipfile.ZipFile(io.BytesIO(content)) as file:
    records = {name: file.read(name) for name in file.namelist()}
  name = list(records)[which % len(records)]
  records[name] = _mutate(records[name], mutations)
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w") as file:
    for name, record in records.items():
      file.writestr(name, record)
  return buffer.getvalue()


def _check_mutated(layout, inside, which, mutations):
  path, file, content = _SEEDS[layout]
  is_zip = content[:2] == b"PK"
  mutated = _mutate_record(content, which, mutations) if inside and is_zip else None
  file.write_bytes(mutated or _mutate(content, mutations))
  try:
    _check(_read(path, None if layout == "legacy" else layout), file)
  finally:
    file.write_bytes(content)


_NAMES = (
  "torch._utils\n_rebuild_tensor_v2\n",
  "torch\nFloatStorage\n",
  "torch\nSize\n",
  "collections\nOrderedDict\n",
  "numpy\ndtype\n",
  "numpy.core.multiarray\nscalar\n",
  "_codecs\nencode\n",
  "os\nsystem\n",
  "builtins\neval\n",
)
_SNIPPETS = st.one_of(
  st.sampled_from([opcode.code.encode("latin1") for opcode in pickletools.opcodes]),
  st.sampled_from([pickle.GLOBAL + name.encode() for name in _NAMES]),
  st.integers(0, 255).map(lambda x: pickle.BININT1 + bytes([x])),
  st.integers(0, 3).map(lambda x: pickle.BINGET + bytes([x])),
  st.integers(0, 3).map(lambda x: pickle.BINPUT + bytes([x])),
  st.text(max_size=3).map(lambda x: b"X" + len(x.encode()).to_bytes(4, "little") + x.encode()),
  st.sampled_from([b"(", b"t", b"R", b"Q", b"}", b"]", b")", b"\x85", b"\x86", b"s", b"a", b"u"]),
  st.binary(max_size=6),
)


def _check_program(path, snippets):
  with zipfile.ZipFile(path, "w") as file:
    file.writestr("archive/data.pkl", b"\x80\x02" + b"".join(snippets) + b".")
    file.writestr("archive/data/0", bytes(64))
  _check(_read(path, None), path)
  _check(_read(path, "dc"), path)


def _settings(count):
  checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
  return settings(
    max_examples=count, deadline=None, database=None, derandomize=True, suppress_health_check=checks
  )


_mutated = given(
  layout=st.sampled_from([*_WRITERS, "legacy"]),
  inside=st.booleans(),
  which=st.integers(0, 20),
  mutations=_MUTATIONS,
)
_programs = given(snippets=st.lists(_SNIPPETS, max_size=40))


@_settings(300)
@_mutated
def test_mutated_files(layout, inside, which, mutations):
  _check_mutated(layout, inside, which, mutations)


@_settings(200)
@_programs
def test_programs_of_random_opcodes(tmp_path, snippets):
  _check_program(tmp_path / "res_program.pt", snippets)


@pytest.mark.slow
@_settings(8000)
@_mutated
def test_8000_mutated_files(layout, inside, which, mutations):
  _check_mutated(layout, inside, which, mutations)


@pytest.mark.slow
@_settings(2000)
@_programs
def test_2000_programs_of_random_opcodes(tmp_path, snippets):
  _check_program(tmp_path / "res_program.pt", snippets)


def test_the_watch_sees_what_runs():
  """Without which the tests above would show nothing."""
  _seen.clear()
  _watching[0] = True
  try:
    pickle.loads(b"cos\ngetcwd\n)R.")
    exec("1")
  finally:
    _watching[0] = False
  assert any(event.startswith("pickle.find_class") for event in _seen)
  assert any(event.startswith("exec") for event in _seen)
  _seen.clear()
