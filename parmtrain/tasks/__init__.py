"""Tasks: where queries and labels come from, and what a deployed model takes of them."""

from parmtrain.tasks.base import Task
from parmtrain.tasks.queries import QuerySet, Splits, TensorQueries

__all__ = ["QuerySet", "Splits", "Task", "TensorQueries"]
