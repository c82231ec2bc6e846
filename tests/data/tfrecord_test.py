import pytest
from tensorboardX.record_writer import RecordWriter

from ddjax.data.tfrecord import read_records

RECORDS = [b"first", b"", b"third" * 100]
SIZES = [16 + len(record) for record in RECORDS]


@pytest.fixture
def path(tmp_path):
  writer = RecordWriter(str(tmp_path / "records"))
  for record in RECORDS:
    writer.write(record)
  writer.close()
  return tmp_path / "records"


def test_records_are_those_written(path):
  assert path.stat().st_size == sum(SIZES)
  assert list(read_records(path)) == RECORDS


@pytest.mark.parametrize(
  "place, said",
  [
    (3, "start of record 0"),  # a length of gigabytes, of which nothing is read
    (SIZES[0] + SIZES[1] + 50, "in record 2"),
    (SIZES[0] + 13, "in record 1"),  # its checksum
  ],
)
def test_a_changed_byte_is_found(path, place, said):
  content = bytearray(path.read_bytes())
  content[place] ^= 0x40
  path.write_bytes(content)
  with pytest.raises(ValueError, match=f"records is damaged.*{said}"):
    list(read_records(path))


@pytest.mark.parametrize("size, said", [(5, "start of record 0"), (14, "in record 0")])
def test_a_cut_file_is_found(path, size, said):
  path.write_bytes(path.read_bytes()[:size])
  with pytest.raises(ValueError, match=f"records is damaged.*{said}"):
    list(read_records(path))
