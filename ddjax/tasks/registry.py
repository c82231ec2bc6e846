"""Names to tasks that make one run each: to add a task, add its line here."""

from ddjax.tasks import distill, evaluate, experts, export, full_set, pack
from ddjax.tasks.task import Task

RUNS: dict[str, Task] = {
  "distill": Task(distill.estimate, distill.run),
  "evaluate": Task(evaluate.estimate, evaluate.run),
  "experts": Task(experts.estimate, experts.run),
  "export": Task(export.estimate, export.run),
  "full_set": Task(full_set.estimate, full_set.run),
  "pack": Task(pack.estimate, pack.run),
}
