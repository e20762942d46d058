"""Where a task's queries and labels come from: files of some format, or a library."""

from abc import ABC, abstractmethod

from parmtrain.tasks.queries import QuerySet, Splits


class Source(ABC):
    """Labelled queries in three splits."""

    @abstractmethod
    def locate(self) -> None:
        """Look whether the data is there, without reading it through.

        Raises:
            DataError: If it is missing or incomplete; the sentence says what, and where it was looked for.
        """

    def download(self) -> None:
        """Fetch what ``locate`` did not find.

        Raises:
            DataError: If that is impossible.
        """
        self.locate()

    @abstractmethod
    def read(self) -> "Splits[QuerySet]":
        """Read the data.

        Raises:
            DataError: If it is missing, incomplete or damaged.
        """
