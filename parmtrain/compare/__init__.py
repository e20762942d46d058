"""Codes and rivals on the same groups, in one table: ``python -m parmtrain.compare task=… k=2,3 code=all``."""

from parmtrain.compare.jobs import Job, jobs_of
from parmtrain.compare.study import compare

__all__ = ["Job", "compare", "jobs_of"]
