"""Compare codes and rivals on the same groups, in one table: ``parmtrain compare task=… k=2,3 code=all``."""

from parmtrain.compare.plan import PlannedRun, planned_runs
from parmtrain.compare.study import compare

__all__ = ["PlannedRun", "compare", "planned_runs"]
