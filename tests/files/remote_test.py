import fsspec
import pytest

from ddjax.files.remote import Remote, RemoteError, is_address


@pytest.fixture(params=["memory", "file"])
def remote(request, tmp_path):
  address = f"memory://{tmp_path}/run" if request.param == "memory" else f"file://{tmp_path}/run"
  yield Remote(address + "/")
  fsspec.filesystem("memory").store.clear()


def test_addresses():
  assert is_address("gs://bucket/run") and is_address("memory://x")
  assert not is_address("runs/x") and not is_address("/a:/b")


def test_files_are_written_read_listed_and_removed(remote):
  assert remote.files() == {} and remote.read("a") is None
  assert remote.write("a", b"1") and remote.write("deep/er/b", b"22")
  assert remote.write("a", b"333")
  assert remote.files() == {"a": 3, "deep/er/b": 2}
  assert remote.read("a") == b"333" and remote.read("deep/er/b") == b"22"
  remote.delete("a")
  remote.delete("a")
  assert remote.files() == {"deep/er/b": 2}


def test_a_new_file_is_not_written_over_another(remote):
  assert remote.write("a", b"1", is_new=True)
  assert not remote.write("a", b"2", is_new=True)
  assert remote.read("a") == b"1"


def test_an_empty_folder_is_removed_and_no_other(tmp_path):
  remote = Remote(f"file://{tmp_path}/run")
  remote.write("a", b"1")
  remote.remove_if_empty()
  assert remote.read("a") == b"1"
  remote.delete("a")
  remote.remove_if_empty()
  assert not (tmp_path / "run").exists()


def test_a_write_that_breaks_off_leaves_the_earlier_file(remote, monkeypatch):
  remote.write("a", b"whole")

  def torn(path, content, **_):
    type(remote._fs).pipe_file(remote._fs, path, content[:2])
    raise ConnectionError("the line is dead")

  with monkeypatch.context() as patch:
    patch.setattr(remote._fs, "pipe_file", torn)
    with pytest.raises(RemoteError, match=f"Cannot write to {remote.address}: .*line is dead"):
      remote.write("a", b"another")
  assert remote.read("a") == b"whole" and remote.files() == {"a": 5}


@pytest.mark.parametrize(
  "address, message",
  [
    ("nowhere://x/y", "no address that is known here"),
    ("memory://", "names no folder"),
  ],
)
def test_addresses_that_cannot_be(address, message):
  with pytest.raises(RemoteError, match=message):
    Remote(address)


@pytest.mark.parametrize("address, package", [("s3://b/run", "s3fs"), ("gs://b/run", "gcsfs")])
def test_a_missing_package_is_named(address, package, monkeypatch):
  def without(*_, **__):
    raise ImportError(f"Install {package} to access this")

  monkeypatch.setattr(fsspec.core, "url_to_fs", without)
  with pytest.raises(RemoteError, match=f"{address} needs a package.*pip install {package}"):
    Remote(address)
