import concurrent.futures
import socket
import time

import pytest

from ddjax.training import hosts
from ddjax.training.hosts import HostsError, Place, find_place

BY_HAND = {
  "DDJAX_COORDINATOR": "node1:1234",
  "DDJAX_NUM_PROCESSES": "2",
  "DDJAX_PROCESS_NUMBER": "1",
}
SLURM = {"SLURM_NTASKS": "4", "SLURM_PROCID": "3"}
MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}
ASKED = {"DDJAX_MULTIHOST": "1"}
ADDRESS = {"DDJAX_COORDINATOR": "node1:1234"}


@pytest.mark.parametrize(
  "environ, place",
  [
    ({}, None),
    (SLURM, None),  # nobody asked
    ({"DDJAX_MULTIHOST": "0"}, None),
    (BY_HAND, Place("node1:1234", 2, 1)),
    (ASKED, Place(None, None, None)),
    (ASKED | SLURM, Place(None, None, None)),  # JAX knows Slurm
    (ADDRESS | SLURM, Place("node1:1234", 4, 3)),
    (ADDRESS | MPI, Place("node1:1234", 4, 3)),
    (BY_HAND | SLURM, Place("node1:1234", 2, 1)),
  ],
)
def test_where_a_process_stands(environ, place):
  assert find_place(environ) == place


def test_flags_win_over_the_environment():
  assert find_place(BY_HAND, Place(None, None, 0)) == Place("node1:1234", 2, 0)
  assert find_place({}, Place("node2:1", 3, 2)) == Place("node2:1", 3, 2)
  with pytest.raises(HostsError, match="--coordinator and --num_processes missing"):
    find_place({}, Place(None, None, 0))


@pytest.mark.parametrize(
  "environ, message",
  [
    ({"DDJAX_MULTIHOST": "yes"}, "DDJAX_MULTIHOST='yes' must be 0 or 1"),
    (ADDRESS, "--num_processes and --process_number missing.*DDJAX_NUM_PROCESSES"),
    (ADDRESS | {"DDJAX_NUM_PROCESSES": "2"}, "--process_number missing"),
    (ASKED | {"DDJAX_PROCESS_NUMBER": "2"}, "--coordinator and --num_processes missing"),
    (BY_HAND | {"DDJAX_PROCESS_NUMBER": "2"}, "--process_number=2 does not fit --num_processes=2"),
    (BY_HAND | {"DDJAX_PROCESS_NUMBER": "-1"}, "--process_number=-1 does not fit"),
    (BY_HAND | {"DDJAX_NUM_PROCESSES": "0"}, "--num_processes=0 must be at least 1"),
    (BY_HAND | {"DDJAX_NUM_PROCESSES": "two"}, "DDJAX_NUM_PROCESSES='two' must be a whole number"),
    (BY_HAND | {"DDJAX_COORDINATOR": "node1"}, "--coordinator='node1' must be HOST:PORT"),
    (BY_HAND | {"DDJAX_COORDINATOR": "node1:http"}, "must be HOST:PORT"),
    (ASKED | MPI, "Open MPI does not say where.*DDJAX_COORDINATOR=HOST:PORT"),
  ],
)
def test_what_cannot_be_or_is_missing_is_named(environ, message):
  with pytest.raises(HostsError, match=message):
    find_place(environ)


def test_asked_for_without_a_cluster_names_what_is_known(monkeypatch):
  for name in ("SLURM_JOB_ID", "OMPI_MCA_orte_hnp_uri", "JAX_COORDINATOR_ADDRESS"):
    monkeypatch.delenv(name, raising=False)
  import jax

  def initialize(**_):
    raise ValueError("coordinator_address should be defined.")

  monkeypatch.setattr(jax.distributed, "initialize", initialize)
  with pytest.raises(HostsError, match="no cluster is known here.*Slurm.*--coordinator=HOST:PORT"):
    hosts.join(Place(None, None, None), {})


@pytest.mark.parametrize("name", ["DDJAX_CONNECT_SECONDS", "DDJAX_HEARTBEAT_SECONDS"])
def test_times_that_cannot_be(name):
  with pytest.raises(HostsError, match=f"{name}=0 must be at least 1"):
    hosts.join(Place("localhost:1", 2, 1), {name: "0"})


def test_one_process_joins_nobody():
  hosts.join(None)
  hosts.join(Place("localhost:1", 1, 0))
  assert hosts.company() is None and hosts.leave(3) == 3


def test_one_task_a_node_takes_all_its_gpus():
  node = {"SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "4"}
  assert hosts._own_devices(node) == [0, 1, 2, 3]
  for other in ({}, {"OMPI_COMM_WORLD_LOCAL_RANK": "0"}, node | {"JAX_LOCAL_DEVICE_IDS": "1"}):
    assert hosts._own_devices(other) is None


def test_several_tasks_a_node_take_one_gpu_each():
  node = {"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "4", "SLURM_LOCALID": "3"}
  assert hosts._own_devices(node) == [3]
  mpi = {"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "2"}
  assert hosts._own_devices(mpi) == [2]


def _port():
  with socket.socket() as server:
    server.bind(("", 0))
    return server.getsockname()[1]


def _call(*places, seconds=5.0):
  """What each place hears in a roll call: "" or the error."""

  def one(place):
    try:
      hosts.roll_call(place, seconds)
      return ""
    except HostsError as error:
      return str(error)

  with concurrent.futures.ThreadPoolExecutor(len(places)) as pool:
    return list(pool.map(one, places))


def test_a_roll_call_of_all():
  address = f"localhost:{_port()}"
  assert _call(*(Place(address, 3, number) for number in (2, 1, 0))) == ["", "", ""]


def test_a_coordinator_that_does_not_answer():
  started = time.monotonic()
  (told,) = _call(Place(f"localhost:{_port()}", 2, 1), seconds=1)
  assert "did not answer within 1 s (DDJAX_CONNECT_SECONDS)" in told
  assert time.monotonic() - started < 5


def test_hosts_that_do_not_come_are_named():
  address = f"localhost:{_port()}"
  told = _call(Place(address, 4, 0), Place(address, 4, 2), seconds=1)
  assert "Of 4 hosts these did not come within 1 s (DDJAX_CONNECT_SECONDS): 1, 3." == told[0]
  assert told[1] == told[0]


def test_a_number_that_is_given_twice():
  address = f"localhost:{_port()}"
  told = _call(Place(address, 4, 0), Place(address, 4, 2), Place(address, 4, 2))
  assert all("--process_number=2 was given to two hosts" in one for one in told)


def test_counts_that_do_not_fit():
  address = f"localhost:{_port()}"
  told = _call(Place(address, 3, 0), Place(address, 2, 1))
  assert told == ["Host 1 has --num_processes=2, and the first 3."] * 2


def test_a_port_in_use():
  with socket.socket() as server:
    server.bind(("", 0))
    server.listen()
    address = f"localhost:{server.getsockname()[1]}"
    (told,) = _call(Place(address, 2, 0))
  assert "cannot be used" in told


def test_strangers_at_the_port_are_passed_over():
  address = f"localhost:{_port()}"
  with concurrent.futures.ThreadPoolExecutor() as pool:
    first = pool.submit(_call, Place(address, 2, 0))
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
      try:
        with socket.create_connection(("localhost", int(address[10:]))) as stranger:
          stranger.sendall(b"GET / HTTP/1.1\n")
        break
      except OSError:
        time.sleep(0.01)
    assert _call(Place(address, 2, 1)) == [""] and first.result() == [""]
