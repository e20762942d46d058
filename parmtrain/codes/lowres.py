"""The low-resolution code: k small pictures in the place of one."""

from contextlib import suppress
from math import ceil, sqrt

from torch import Tensor, nn
from torch.nn.functional import interpolate

from parmtrain.bounds import Positive
from parmtrain.codes.base import FreshModel, require_k
from parmtrain.codes.batches import SLACK, BatchCode, StudentModel, require_divisor
from parmtrain.deployed import DeployedModel
from parmtrain.errors import UnsupportedError
from parmtrain.models import perceptron_student


def small_size(height: int, width: int, k: int, layout: str = "grid", fewer: int = 0) -> tuple[int, int]:
    """Return the size of the largest picture of its aspect with at most 1/k of the pixels, or of a smaller one.

    Args:
        height: Rows of a query.
        width: Columns of a query.
        k: Queries whose pixels must fit into one query's.
        layout: ``grid``, or ``row`` to keep all rows and 1/k of the columns: spectrograms, shortened in time.
        fewer: How many rows fewer than the largest it has; columns, with ``row``.

    Example:
        >>> [small_size(28, 28, k) for k in (2, 3, 4, 8)], small_size(40, 101, 2, "row")
        ([(19, 20), (16, 16), (14, 14), (9, 10)], (40, 50))
        >>> small_size(28, 28, 2, fewer=1), small_size(40, 101, 2, "row", fewer=2)
        ((18, 19), (40, 48))
    """
    if layout == "row":
        return height, width // k - fewer
    most = max(1, int(height / sqrt(k)))
    columns = min(height * width // (k * most), ceil(width / sqrt(k)))
    return most - fewer, round(columns * (most - fewer) / most)


class LowResEncoder(nn.Module):
    """Downsample each of the k images of a group, antialiased, and pass them on as one batch.

    Args:
        k: Images in a coding group.
        layout: As for ``small_size``.

    ``fewer``, as for ``small_size``, may be set.

    Example:
        >>> import torch
        >>> LowResEncoder(k=4)(torch.rand(5, 4, 3, 32, 32)).shape
        torch.Size([5, 1, 4, 3, 16, 16])
    """

    def __init__(self, k: int, layout: str = "grid") -> None:
        super().__init__()
        self.k, self.layout, self.fewer = k, layout, 0

    def extra_repr(self) -> str:
        """Return what decides the size of the small images."""
        return f"k={self.k}, layout={self.layout}, fewer={self.fewer}"

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of the small images."""
        return small_size(int(height), int(width), self.k, self.layout, self.fewer)  # tensors, in a trace

    def forward(self, queries: Tensor) -> Tensor:
        """Map images ``[g, k, c, h, w]`` to small ones ``[g, 1, k, c, h', w']``."""
        size = self.size(queries.size(3), queries.size(4))
        small = interpolate(queries.flatten(0, 1), list(size), mode="bilinear", antialias=True)
        batches: Tensor = small.unflatten(0, queries.shape[:2]).unsqueeze(1)
        return batches


class LowRes(BatchCode):
    """The low-resolution code: a student runs the k images of a group, each at 1/k of its pixels.

    A parity query has at most the bytes of one query, and takes the arithmetic of one, as in other codes with one
    parity query. Where F's own network takes more, since strides round sizes up, its pictures are up to a quarter
    smaller.

    Args:
        k: Queries in a coding group, 2 or more.
        model: As for ``BatchCode``. F's own architecture starts from its weights where names and shapes match.
        flops: As for ``BatchCode``.
        layout: As for ``small_size``.
        r: Extra workers, 1.
        otherwise: Builds the student where F's own architecture is asked for, and takes no small pictures or too many
            FLOPs. None refuses such a deployed model.

    Raises:
        UnsupportedError: If r is not 1 or the layout is unknown.

    Example:
        >>> LowRes(k=2).parity_shape((1, 28, 28)), round(LowRes(k=2).cost((1, 28, 28))["parity_bytes"], 3)
        ((2, 1, 19, 20), 0.969)
    """

    encoder: LowResEncoder

    def __init__(
        self,
        k: int,
        model: StudentModel | None = None,
        flops: Positive | None = None,
        layout: str = "grid",
        r: int | None = None,
        otherwise: StudentModel | None = None,
    ) -> None:
        if require_divisor("lowres", r, require_k(k)) != 1:
            raise UnsupportedError(f"code=lowres makes one parity query per group: r must be 1, got {r}")
        if layout not in ("grid", "row"):
            raise UnsupportedError(f"code.layout must be grid or row, got {layout}")
        super().__init__(k, LowResEncoder(k, layout), model, flops, 1)
        self.otherwise = otherwise

    @property
    def name(self) -> str:
        """``lowres``."""
        return "lowres"

    @property
    def label(self) -> str:
        """``lowres``, ``lowres_own`` if F's own network is asked for, or ``lowres_perceptron``."""
        if self.model is None or self.otherwise is not None:
            return "lowres_own"
        return "lowres_perceptron" if getattr(self.model, "func", self.model) is perceptron_student else "lowres"

    def student_shape(self, query_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one small image, for images ``[c, h, w]`` with k pixels or more."""
        if len(query_shape) != 3:
            raise UnsupportedError(
                f"code=lowres needs queries of shape [c, h, w] (images or spectrograms), got {list(query_shape)}; "
                "code=backup and code=sum take any shape"
            )
        size = self.encoder.size(query_shape[1], query_shape[2])
        if min(size) < 1:
            raise UnsupportedError(
                f"code=lowres with k={self.k} needs larger images, got {query_shape[1]}×{query_shape[2]}; use a "
                "smaller k or code=backup"
            )
        return (query_shape[0], *size)

    def parity_models(
        self, query_shape: tuple[int, ...], deployed: DeployedModel, fresh: FreshModel
    ) -> list[nn.Module]:
        """Return the student, which runs all queries; choose the size of pictures for F's own architecture."""
        if self.model is not None:
            return super().parity_models(query_shape, deployed, fresh)
        try:
            most = self._most(query_shape, deployed)
            if most is not None:
                self._shrink(query_shape, SLACK * most, fresh)
            return super().parity_models(query_shape, deployed, fresh)
        except UnsupportedError as fault:
            if self.otherwise is None:
                raise
            self.model = self.otherwise
            self.remark = (
                "a student runs the small pictures, since the deployed model's own network takes none of them within "
                f"the budget ({fault})"
            )
            return super().parity_models(query_shape, deployed, fresh)

    def _shrink(self, query_shape: tuple[int, ...], most: float, fresh: FreshModel) -> None:
        """Take the largest pictures, of sides down to three quarters, for which a network takes few enough FLOPs."""
        largest = self.student_shape(query_shape)
        side = largest[2 if self.encoder.layout == "row" else 1]
        for self.encoder.fewer in range(side // 4 + 1):
            shape = self.student_shape(query_shape)
            with suppress(UnsupportedError):  # of a size that the network does not take
                if self._one_run(fresh(shape, model=None), shape) <= most:
                    return
        self.encoder.fewer = 0
