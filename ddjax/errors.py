"""The errors that `ddjax.main` prints as one sentence, without a traceback."""

from ddjax.data.source import DataError
from ddjax.experts.files import ExpertBufferError
from ddjax.files.atomic import OutputError
from ddjax.stages.run_folder import RunFolderError
from ddjax.study.ledger import StudyError
from ddjax.training.checkpoints import CheckpointError
from ddjax.training.trainer import NonFiniteLossError, PreemptedError

PREEMPTION = (PreemptedError,)
EXPECTED = (
  ExpertBufferError,
  CheckpointError,
  DataError,
  NonFiniteLossError,
  OutputError,
  RunFolderError,
  StudyError,
  FileNotFoundError,
  ValueError,
)
