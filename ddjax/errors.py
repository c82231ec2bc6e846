"""The errors that `ddjax.main` prints as one sentence, without a traceback."""

from ddjax.data.source import DataError
from ddjax.experts.files import ExpertBufferError
from ddjax.files.atomic import OutputError
from ddjax.files.remote import RemoteError
from ddjax.stages.run_folder import RunFolderError
from ddjax.study.ledger import StudyError
from ddjax.training.checkpoints import CheckpointError
from ddjax.training.hosts import HostsError
from ddjax.training.processes import StopAskedError
from ddjax.training.trainer import NonFiniteLossError

PREEMPTION = (StopAskedError,)
EXPECTED = (
  ExpertBufferError,
  CheckpointError,
  DataError,
  HostsError,
  NonFiniteLossError,
  OutputError,
  RemoteError,
  RunFolderError,
  StudyError,
  FileNotFoundError,
  ValueError,
)
