"""Several hosts in one run: how they find each other, and how they part.

Nothing here happens unless it is asked for, by flags or by the environment:

  DDJAX_MULTIHOST=1     hosts as the cluster says: a TPU pod, Slurm, Open MPI
  --coordinator=HOST:PORT --num_processes=N --process_number=I, or DDJAX_COORDINATOR,
  DDJAX_NUM_PROCESSES, DDJAX_PROCESS_NUMBER    hosts by hand; what is missing the cluster says

  DDJAX_CONNECT_SECONDS     how long a host waits for the others at the start (default 300)
  DDJAX_HEARTBEAT_SECONDS   after what silence a host is taken for dead (default 60)
"""

import contextlib
import json
import math
import os
import socket
import sys
import threading
import time
import traceback
from typing import Any, Iterator, Mapping, NamedTuple, overload

from absl import logging

from ddjax.training.company import Company, HostsError

_CLUSTERS = (
  "a TPU pod, Slurm (start it with srun) or Open MPI (start it with mpirun); or name the hosts: "
  "--coordinator=HOST:PORT --num_processes=N --process_number=I"
)
_SLACK_SECONDS = 60  # that JAX waits longer than we do, so that ours is the sentence
_END_SECONDS = 10.0
_STOPPED = 143  # 128 + SIGTERM
_MOST_BYTES = 1000

_company: Company | None = None


class Place(NamedTuple):
  """Where a process stands among those of a run; None is left to the cluster."""

  coordinator: str | None
  num_processes: int | None
  number: int | None


def find_place(
  environ: Mapping[str, str] = os.environ, given: Place = Place(None, None, None)
) -> Place | None:
  """What flags and environment say of several hosts; None where nobody asked for them.

  Args:
    environ: the environment.
    given: by flags, which win over it.
  Raises:
    HostsError: for a variable that has no sense, or one that is missing, naming it.
  """
  wanted = environ.get("DDJAX_MULTIHOST", "0")
  if wanted not in ("", "0", "1"):
    raise HostsError(f"DDJAX_MULTIHOST={wanted!r} must be 0 or 1.")
  coordinator, count, number = given
  coordinator = coordinator or environ.get("DDJAX_COORDINATOR")
  count = _integer(environ, "DDJAX_NUM_PROCESSES") if count is None else count
  number = _integer(environ, "DDJAX_PROCESS_NUMBER") if number is None else number
  if wanted != "1" and coordinator is None and count is None and number is None:
    return None
  in_mpi = {name: _integer(environ, f"OMPI_COMM_WORLD_{name}") for name in ("SIZE", "RANK")}
  in_slurm = {name: _integer(environ, f"SLURM_{name}") for name in ("NTASKS", "PROCID")}
  sizes = [size for size in (in_mpi["SIZE"], in_slurm["NTASKS"]) if size is not None]
  if coordinator is not None:  # the rest may come from whatever started the processes
    ranks = [rank for rank in (in_mpi["RANK"], in_slurm["PROCID"]) if rank is not None]
    count = next(iter(sizes), None) if count is None else count
    number = next(iter(ranks), None) if number is None else number
  place = Place(coordinator, count, number)
  _check(place, environ)
  return place


def _check(place: Place, environ: Mapping[str, str]) -> None:
  """Raises HostsError where a place cannot be, or something is missing that no cluster says."""
  named = dict(zip(("--coordinator", "--num_processes", "--process_number"), place, strict=True))
  missing = [name for name, value in named.items() if value is None]
  if missing and len(missing) < 3:
    raise HostsError(
      f"{' and '.join(missing)} missing: several hosts need all three of "
      "--coordinator=HOST:PORT, --num_processes=N and --process_number=I (or DDJAX_COORDINATOR, "
      "DDJAX_NUM_PROCESSES, DDJAX_PROCESS_NUMBER)."
    )
  if len(missing) == 3:
    if "OMPI_COMM_WORLD_RANK" in environ and "OMPI_MCA_orte_hnp_uri" not in environ:
      raise HostsError(
        "This Open MPI does not say where its first process is: set DDJAX_COORDINATOR=HOST:PORT."
      )
    return
  coordinator, num_processes, number = _whole(place)
  host, _, port = coordinator.rpartition(":")
  if not host or not port.isdecimal() or not 0 < int(port) < 65536:
    raise HostsError(f"--coordinator={coordinator!r} must be HOST:PORT.")
  if num_processes < 1:
    raise HostsError(f"--num_processes={num_processes} must be at least 1.")
  if not 0 <= number < num_processes:
    raise HostsError(
      f"--process_number={number} does not fit --num_processes={num_processes}: "
      f"numbers run from 0 to {num_processes - 1}."
    )


def _whole(place: Place) -> tuple[str, int, int]:
  """The fields of a place of which nothing is None."""
  assert place.coordinator is not None
  assert place.num_processes is not None and place.number is not None
  return place.coordinator, place.num_processes, place.number


@overload
def _integer(environ: Mapping[str, str], name: str, default: int) -> int: ...


@overload
def _integer(environ: Mapping[str, str], name: str) -> int | None: ...


def _integer(environ: Mapping[str, str], name: str, default: int | None = None) -> int | None:
  text = environ.get(name)
  if not text:
    return default
  try:
    return int(text)
  except ValueError:
    raise HostsError(f"{name}={text!r} must be a whole number.") from None


def join(place: Place | None, environ: Mapping[str, str] = os.environ) -> None:
  """Brings this process together with the others; nothing for None, or a run of one process.

  Raises:
    HostsError: if they do not come together within `DDJAX_CONNECT_SECONDS`, in one sentence.
  """
  global _company
  if place is None or place.num_processes == 1:
    return
  seconds = _integer(environ, "DDJAX_CONNECT_SECONDS", 300)
  silence = _integer(environ, "DDJAX_HEARTBEAT_SECONDS", 60)
  for name, value in (("CONNECT", seconds), ("HEARTBEAT", silence)):
    if value < 1:
      raise HostsError(f"DDJAX_{name}_SECONDS={value} must be at least 1.")
  import jax
  from jax._src import distributed  # for its client, which has no public name; orbax does the same

  if place.coordinator is not None:
    roll_call(place, seconds)
  with contextlib.suppress(AttributeError):  # it would take SIGTERM for itself
    jax.config.update("jax_enable_preemption_service", False)
  options: dict[str, Any] = dict(
    initialization_timeout=seconds + _SLACK_SECONDS,
    heartbeat_timeout_seconds=silence + _SLACK_SECONDS,
    shutdown_timeout_seconds=_SLACK_SECONDS,
  )
  options["local_device_ids"] = _own_devices(environ)
  if place.coordinator is not None:
    options |= dict(zip(("coordinator_address", "num_processes", "process_id"), place))
    options["cluster_detection_method"] = "deactivate"
  with _deadline(seconds, "Not all hosts of the run came together"):
    try:
      jax.distributed.initialize(**options)
    except (ValueError, RuntimeError, OSError, KeyError) as error:
      if place.coordinator is not None:
        raise HostsError(f"JAX could not bring the hosts together: {error}") from error
      raise HostsError(
        f"DDJAX_MULTIHOST=1, but no cluster is known here ({error}). Known are {_CLUSTERS}."
      ) from error
    client = distributed.global_state.client
    if jax.process_count() > 1:
      from jax.experimental import multihost_utils

      multihost_utils.sync_global_devices("ddjax")  # opens connections while all are here
  if jax.process_count() > 1:
    _company = Company(client, jax.process_index(), jax.process_count(), silence)
    _company.start()
    logging.info("Host %d of %d, %d devices in all.", jax.process_index(), jax.process_count(),
                 jax.device_count())  # fmt: skip


def company() -> Company | None:
  """The hosts of this run; None where there is only this one."""
  return _company


def leave(code: int, sentence: str = "") -> int:
  """Parts from the other hosts; the exit code again. A traceback that is under way is printed.

  Where this process fails and the others do not, it ends here and now: JAX would wait for them.

  Args:
    code: 0 and 143 (stopped on request, as all then are) are no failures: this process waits until
      the first has written what it has to.
    sentence: of a failure, for the others.
  """
  global _company
  if _company is None:
    return code
  error = sys.exc_info()[1]
  if error is not None and not isinstance(error, SystemExit):
    traceback.print_exception(error)
    sentence = sentence or f"{type(error).__name__}: {error}".partition("\n")[0]
  ending, _company = _company, None
  is_failure = code not in (0, _STOPPED)
  ending.tell_end((sentence or f"exit code {code}") if is_failure else "")
  are_all_here = ending.wait_for_ends(_END_SECONDS if is_failure else math.inf)
  ending.close()
  if not are_all_here:
    logging.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
  return code


@contextlib.contextmanager
def _deadline(seconds: float, what: str) -> Iterator[None]:
  """Ends the process with a sentence if the block takes longer: inside, JAX cannot be stopped."""

  def end():
    print(f"Error: {what} within {seconds:g} s (DDJAX_CONNECT_SECONDS).", file=sys.stderr)
    sys.stderr.flush()
    os._exit(1)

  timer = threading.Timer(seconds, end)
  timer.daemon = True
  timer.start()
  try:
    yield
  finally:
    timer.cancel()


def _own_devices(environ: Mapping[str, str]) -> list[int] | None:
  """Which GPUs a process takes; None for all, or where JAX is to say.

  One for each of several processes on a node. All where Slurm starts one task on a node, of which
  JAX would take the first alone.
  """
  if "JAX_LOCAL_DEVICE_IDS" in environ:
    return None
  tasks, nodes = environ.get("SLURM_NTASKS"), environ.get("SLURM_NNODES")
  count, rank = environ.get("SLURM_GPUS_ON_NODE", ""), environ.get("SLURM_LOCALID", "")
  if tasks is not None and tasks == nodes:
    return list(range(int(count))) or None if count.isdecimal() else None
  if environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1") != "1":
    rank, tasks = environ.get("OMPI_COMM_WORLD_LOCAL_RANK", ""), "several"
  return [int(rank)] if tasks is not None and rank.isdecimal() else None


def roll_call(place: Place, seconds: float) -> None:
  """The hosts count themselves before JAX, which ends a process where they do not fit.

  The first listens at the coordinator's address until all have said their number and how many
  they believe to be, and tells each whether that fits.

  Args:
    place: whole, nothing None.
    seconds: to wait for the others.
  Raises:
    HostsError: naming who is missing, or what does not fit.
  """
  deadline = time.monotonic() + seconds
  try:
    (_listen if place.number == 0 else _report)(place, deadline, seconds)
  except TimeoutError as error:
    raise HostsError(str(error)) from None


def _listen(place: Place, deadline: float, seconds: float) -> None:
  """The first host's part."""
  coordinator, num_processes, _ = _whole(place)
  port = int(coordinator.rpartition(":")[2])
  try:
    server = _server(port)
  except OSError as error:
    raise HostsError(f"Port {port} of --coordinator cannot be used: {error.strerror}.") from error
  callers: dict[int, socket.socket] = {}
  problem = ""
  with contextlib.ExitStack() as stack:
    stack.enter_context(server)
    while len(callers) < num_processes - 1 and not problem:
      server.settimeout(max(deadline - time.monotonic(), 0.01))
      try:
        caller, _ = server.accept()
      except TimeoutError:
        missing = sorted(set(range(1, num_processes)) - set(callers))
        problem = (
          f"Of {num_processes} hosts these did not come within {seconds:g} s "
          f"(DDJAX_CONNECT_SECONDS): {', '.join(map(str, missing))}."
        )
        break
      stack.enter_context(caller)
      try:
        caller.settimeout(5)
        number, count = json.loads(_line(caller))
        number, count = int(number), int(count)
      except (OSError, ValueError, TypeError):
        continue  # nobody of ours
      if count != num_processes:
        problem = f"Host {number} has --num_processes={count}, and the first {num_processes}."
      elif number in callers or not 0 < number < count:
        problem = f"--process_number={number} was given to two hosts."
      callers[number if number not in callers else -1] = caller
    for caller in callers.values():
      with contextlib.suppress(OSError):
        caller.sendall(json.dumps(problem).encode() + b"\n")
  if problem:
    raise HostsError(problem)


def _server(port: int) -> socket.socket:
  """Listening on all addresses of this host."""
  if socket.has_dualstack_ipv6():
    return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
  return socket.create_server(("", port))


def _report(place: Place, deadline: float, seconds: float) -> None:
  """The part of the others."""
  coordinator, num_processes, number = _whole(place)
  host, _, port = coordinator.rpartition(":")
  message = json.dumps([number, num_processes]).encode() + b"\n"
  why = "nobody listens there"
  while (left := deadline - time.monotonic()) > 0:
    try:
      with socket.create_connection((host.strip("[]"), int(port)), timeout=left) as caller:
        caller.settimeout(left + 5)  # the first host's sentence says more than this one's
        caller.sendall(message)
        problem = json.loads(_line(caller))
    except (OSError, ValueError) as error:
      why = str(error) or type(error).__name__
      time.sleep(min(0.2, max(left, 0)))
      continue
    if problem:
      raise HostsError(problem)
    return
  raise TimeoutError(
    f"The coordinator {place.coordinator} did not answer within {seconds:g} s "
    f"(DDJAX_CONNECT_SECONDS): {why}."
  )


def _line(caller: socket.socket) -> bytes:
  """One line of what the other side says; ValueError where it says none."""
  said = b""
  while not said.endswith(b"\n"):
    part = caller.recv(_MOST_BYTES)
    said += part
    if not part or len(said) > _MOST_BYTES:
      raise ValueError("no line")
  return said
