"""The built-in default: scikit-learn's 1,797 real images of handwritten digits, 8×8 pixels, 17 grey levels."""

import torch

from parmtrain.bounds import Count
from parmtrain.errors import ConfigError
from parmtrain.tasks.queries import Splits, TensorQueries, hold_out
from parmtrain.tasks.source import Source

IMAGES = 1797


class Digits(Source):
    """The digits of ``sklearn.datasets.load_digits``, always split in the same way.

    Args:
        validation: Number of images to hold out for validation.
        test: Number of images to hold out for testing.

    Raises:
        ConfigError: If no image is left for training.

    Source: Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI (1998), test set.
    """

    def __init__(self, validation: Count, test: Count) -> None:
        if validation + test >= IMAGES:
            raise ConfigError(
                [
                    f"task.source.validation and task.source.test must leave images for training: {IMAGES} in all, got "
                    f"{validation} and {test}"
                ]
            )
        self.validation, self.test = validation, test

    def locate(self) -> None:
        """Do nothing: scikit-learn contains the images."""

    def read(self) -> "Splits[TensorQueries]":
        """Read the images, stored as ``[1, 8, 8]`` bytes from 0 to 16."""
        from sklearn.datasets import load_digits

        content = load_digits()
        images = torch.from_numpy(content.images).to(torch.uint8).unsqueeze(1)
        queries = TensorQueries(images, torch.from_numpy(content.target).long())
        rest, test = hold_out(queries, self.test)
        train, val = hold_out(rest, self.validation)
        return Splits(train, val, test)
