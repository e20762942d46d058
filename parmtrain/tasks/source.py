"""Sources of queries and labels: files of some format, or a library."""

from abc import ABC, abstractmethod

from parmtrain.tasks.queries import QuerySet, Splits


class Source(ABC):
    """Queries in three splits, with labels or without."""

    @abstractmethod
    def locate(self) -> None:
        """Check that the data exists, without reading all of it.

        Raises:
            MissingDataError: If it is missing or incomplete, so that ``download`` may help; the message says what is
                missing, and where.
            DataError: If it is there, but not as it must be.
        """

    @property
    def downloads(self) -> bool:
        """Whether ``download`` may help."""
        return type(self).download is not Source.download

    def download(self) -> None:
        """Download or generate data that ``locate`` did not find.

        Raises:
            DataError: If that fails.
        """
        self.locate()

    @property
    def labelled(self) -> bool:
        """Whether the queries of the training split have labels, as far as is known without reading them."""
        return True

    @abstractmethod
    def read(self) -> "Splits[QuerySet]":
        """Read the data.

        Raises:
            DataError: If it is missing, incomplete or damaged.
        """
