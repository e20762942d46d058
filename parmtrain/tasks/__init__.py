"""Tasks: where queries and labels come from, and how they become the deployed model's input."""

from parmtrain.tasks.base import Task
from parmtrain.tasks.queries import QuerySet, Splits, TensorQueries

__all__ = ["QuerySet", "Splits", "Task", "TensorQueries"]
