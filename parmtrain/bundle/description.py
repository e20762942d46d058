"""``bundle.json``: the description of a bundle, and the names of its files."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from parmtrain.bounds import Bounds, Count, Finite, Share, Some, Whole, bounded
from parmtrain.codes import Scheme
from parmtrain.errors import ExportError
from parmtrain.query_range import channels_of
from parmtrain.validation import first_wrong

FORMAT = 5  # format 3 had neither an export format nor a scheme, format 4 no confidence
READABLE = (3, 4, 5)
DESCRIPTION, ENCODER, DECODER, DEPLOYED = "bundle.json", "encoder", "decoder", "deployed"
CONFIDENCE, CARD = "confidence", "README.md"
TORCHSCRIPT = "parmtrain.bundle.torchscript.TorchScript"  # the export format of all bundles in format 3

Number = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(e-[0-9]+)?$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Shapes(BaseModel):
    query: list[Count]
    parity_query: list[Count]
    prediction: Annotated[list[Count], Field(min_length=1, max_length=1)]
    worker_output: Annotated[list[Count], Field(min_length=1, max_length=1)]


class _Queries(BaseModel):
    """Least and largest value of each figure of ordinary queries, by channel."""

    minimum: list[tuple[Finite, Finite]]
    maximum: list[tuple[Finite, Finite]]
    mean: list[tuple[Finite, Finite]]
    deviation: Annotated[list[tuple[Finite, Finite]], Field(alias="standard deviation")]


class _Parity(BaseModel):
    models: Whole


class _Deployed(BaseModel):
    fingerprint: Digest
    origin: str = ""  # older bundles do not state it
    answers: list[list[Finite]] | None = None  # of a model without weights
    output: int | str | None = None  # which part of what it returns is the prediction
    flatten: bool = False  # whether it takes each query as a vector
    takes: Literal["float32", "float16", "bfloat16", "float64", "uint8"] = "float32"  # type of its queries
    scale: Finite = 1.0  # of queries, for one that takes bytes


class _Promises(BaseModel):
    """Thresholds of each number of late workers, by what they promise; null where nothing can be promised."""

    certainty: Share
    agreement: dict[Number, Some[Share | None]]
    risk: dict[Number, Some[Share | None]]


class _Description(BaseModel):
    """What every reader of a bundle relies on."""

    task: str
    code: str
    export_format: str = TORCHSCRIPT
    k: Annotated[int, bounded(Bounds(least=2))]
    r: Whole
    n: Count
    systematic: bool
    coded: Whole
    partial: bool = False  # older bundles do not state it
    independent: bool = False  # nor this
    precision: str | None = None  # nor this: Lightning's name of the one that it was trained with
    queries: _Queries | None = None  # nor this: the range of ordinary ones
    promises: _Promises | None = None  # nor this
    kind: str | None = None  # nor this: the kind of predictions, as ``Measures`` has it
    stragglers: Whole
    shapes: _Shapes
    parity: _Parity
    deployed: _Deployed
    files: dict[FileName, Digest]

    @model_validator(mode="after")
    def _belongs_together(self) -> "_Description":
        if self.n != self.k + self.r or self.coded != (self.r if self.systematic else self.n):
            raise PydanticCustomError("counts", "must have n = k + r workers, of which coded ones run coded queries")
        if self.queries is not None:
            channels = {len(stated) for _, stated in self.queries}
            if channels != {channels_of(self.shapes.query)}:
                raise PydanticCustomError("channels", "queries must have bounds for each channel")
        parts = {ENCODER, DECODER, *(parity_model(j) for j in range(self.parity.models))}
        if {name.partition(".")[0] for name in self.files} - {DEPLOYED, CONFIDENCE} != parts:
            raise PydanticCustomError("files", "files must be those of an encoder, a decoder and its models")
        if (self.promises is None) != (CONFIDENCE not in {name.partition(".")[0] for name in self.files}):
            raise PydanticCustomError("promises", "promises and the file of a confidence must be given together")
        return self


def parity_model(j: int) -> str:
    """Return the file name of parity model j, counted from 0, without the suffix of its format.

    Example:
        >>> parity_model(0), parity_model(1)
        ('parity_model', 'parity_model_2')
    """
    return "parity_model" if j == 0 else f"parity_model_{j + 1}"


def read_description(folder: Path) -> dict[str, Any]:
    """Return the content of ``bundle.json``.

    Raises:
        ExportError: If it is missing, damaged, or in an unsupported format.
    """
    path = folder / DESCRIPTION
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as fault:
        raise ExportError(f"{folder} must hold a bundle, but {path} does not exist") from fault
    except (ValueError, RecursionError) as fault:
        raise ExportError(f"{path} must be valid JSON: {fault}") from fault
    if not isinstance(about, dict):
        raise ExportError(f"{path} must be an object, got {type(about).__name__}")
    if about.get("format") not in READABLE:
        raise ExportError(f"{path} must have format {READABLE[0]} to {READABLE[-1]}, got {about.get('format')}")
    wrong = first_wrong(_Description, about)
    if wrong is not None:
        raise ExportError(f"{path}: {wrong.key} {wrong.sentence}".replace(":  ", ": "))
    if "scheme" in about:
        try:
            Scheme.from_json(about["scheme"])
        except ValueError as fault:
            raise ExportError(f"{path}: scheme: {fault}") from fault
    return about


def require_files(folder: Path, files: Mapping[str, str]) -> None:
    """Raise an ``ExportError`` if a file of a bundle is missing, or differs from its SHA-256."""
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            raise ExportError(f"{path} must exist, as {DESCRIPTION} lists it; export the bundle again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise ExportError(f"{path} must be the exported file, but its SHA-256 differs from {DESCRIPTION}")
