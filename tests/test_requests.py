"""What a client sends is read as a query or refused with a status and a sentence."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parmtrain.serving.protocol.requests import Refused, as_query, parse

SHAPE = (1, 2, 2)
RIGHT = torch.arange(4.0).view(SHAPE)
RAW = RIGHT.numpy().astype("<f4").tobytes()


def test_queries_as_json_and_as_bare_numbers() -> None:
    assert torch.equal(parse(b'{"query": [[[0, 1], [2.0, 3e0]]]}', "application/json; charset=utf-8", SHAPE), RIGHT)
    assert torch.equal(parse(RAW, "application/octet-stream", SHAPE), RIGHT)
    assert torch.equal(as_query(RIGHT.double().numpy(), SHAPE), RIGHT)
    assert as_query(RIGHT.long(), SHAPE).dtype is torch.float32


@pytest.mark.parametrize(
    ("body", "kind", "status", "sentence"),
    [
        (b"{", "application/json", 400, "the body must be valid JSON"),
        (b"\xff\xfe", "application/json", 400, "the body must be valid JSON"),
        (b"[" * 1000, "application/json", 400, "the body must be valid JSON"),
        (b"[1, 2]", "application/json", 422, "the body must be a JSON object"),
        (b'{"query": [[[0, 1], [2]]]}', "application/json", 422, "lists of different lengths"),
        (b'{"query": [[0, 1], [2, 3]]}', "application/json", 422, r"must have shape \[1, 2, 2\], got \[2, 2\]"),
        (b'{"query": [[[0, 1], [2, "3"]]]}', "application/json", 422, "must hold only numbers"),
        (b'{"query": [[[true, true], [false, true]]]}', "application/json", 422, "must hold only numbers"),
        (b'{"query": [[[0, 1], [2, null]]]}', "application/json", 422, "must hold only numbers"),
        (b'{"query": [[[0, 1], [2, NaN]]]}', "application/json", 422, "finite numbers, got NaN or infinity"),
        (b'{"query": [[[0, 1], [2, 1e300]]]}', "application/json", 422, "finite numbers, got NaN or infinity"),
        (RAW[:-1], "application/octet-stream", 422, r"must have 16 bytes, .* got 15"),
        (RAW[:-4] + b"\x00\x00\x80\x7f", "application/octet-stream", 422, "finite numbers, got NaN or infinity"),
        (b" " * 10_000, "application/json", 413, "the body must have at most 1152 bytes .* got 10000"),
        (RAW, "image/png", 415, "Content-Type must be application/json or application/octet-stream, got image/png"),
    ],
)
def test_malformed_requests(body: bytes, kind: str, status: int, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence) as caught:
        parse(body, kind, SHAPE)
    assert caught.value.status == status


@pytest.mark.parametrize("query", ["text", None, RIGHT.bool(), RIGHT[0], RIGHT + torch.nan, RIGHT.to(torch.cfloat)])
def test_malformed_queries_through_a_handle(query: Any) -> None:
    with pytest.raises(Refused) as caught:
        as_query(query, SHAPE)
    assert caught.value.status == 422


@given(st.binary(max_size=200), st.sampled_from(["application/json", "application/octet-stream", "", "x"]))
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_a_query_or_refused(body: bytes, kind: str) -> None:
    try:
        query = parse(body, kind, SHAPE)
    except Refused:
        return
    assert query.shape == SHAPE
    assert query.isfinite().all()


def test_a_million_bytes_of_brackets_are_refused_before_they_are_read() -> None:
    with pytest.raises(Refused, match="must have at most 1152 bytes"):
        parse(b"[" * 1_000_000, "application/json", SHAPE)
