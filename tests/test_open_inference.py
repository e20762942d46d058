"""The Open Inference Protocol: messages, and a server of it that clients of others talk to."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from parmtrain.serving.instances.model_server import OneModel
from parmtrain.serving.instances.runner import Runner
from parmtrain.serving.protocol.dataplane import DataPlane
from parmtrain.serving.protocol.grpc_host import serving_grpc
from parmtrain.serving.protocol.http import Protocol, application
from parmtrain.serving.protocol.listening import taken
from parmtrain.serving.protocol.open_inference import LENGTH, read, write
from parmtrain.serving.protocol.requests import Refused
from parmtrain.serving.protocol.tensors import TYPES
from tests.servers import serving

SHAPE = (2, 3)
NUMBERS = st.sampled_from(list(TYPES.values())).flatmap(
    lambda kind: arrays.arrays(kind, arrays.array_shapes(max_dims=3, max_side=4), elements=st.integers(0, 100))
)


NAMES = st.text(min_size=1).filter(lambda name: name.isprintable())


@pytest.mark.slow
@given(st.dictionaries(NAMES, st.tuples(NUMBERS, st.booleans()), max_size=4))
def test_what_is_written_is_read(tensors: Any) -> None:
    body, headers = write("inputs", tensors, {"id": "seven"})
    message = read(body, headers.get(LENGTH), "inputs")
    assert message.id == "seven"
    assert list(message.tensors) == list(tensors)
    for name, (tensor, _) in tensors.items():
        assert message.tensors[name].dtype == tensor.dtype
        assert np.array_equal(message.tensors[name], tensor)


@given(st.binary(max_size=200), st.one_of(st.none(), st.integers(-5, 300).map(str), st.text(max_size=5)))
def test_any_bytes_are_a_message_or_refused(body: bytes, length: str | None) -> None:
    with suppress(Refused):
        read(body, length, "inputs")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@given(
    st.sampled_from(["name", "shape", "datatype", "data", "parameters"]),
    JSON | st.lists(st.integers(-1, 10**30), max_size=100),
    st.dictionaries(st.sampled_from(["id", "parameters", "outputs", "inputs"]), JSON, max_size=2),
)
def test_a_message_with_a_changed_part_is_a_message_or_refused_in_words(part: str, value: Any, other: Any) -> None:
    one = {"name": "query", "shape": [1, 2, 3], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6]} | {part: value}
    body = json.dumps({"inputs": [one]} | other).encode()
    try:
        message = read(body, None, "inputs")
    except Refused as fault:
        json.dumps({"error": str(fault)}).encode()
        sentence = str(fault)
    else:
        sentence = ""
        assert all(tensor.dtype.kind in "iuf" for tensor in message.tensors.values())
    assert len(sentence) < 500


def request(**more: Any) -> bytes:
    one = {"name": "query", "shape": [1, 2, 3], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6]}
    return json.dumps({"inputs": [one | more]}).encode()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the body must be valid JSON"),
        (b"[1]", "the body must be a JSON object with a list of inputs"),
        (b'{"inputs": [{}]}', "each of inputs must be an object with a name"),
        (request(datatype="BYTES"), "query: datatype must be one of FP16, FP32"),
        (request(shape=[1, -2, 3]), "query: shape must be a list of whole numbers, got [1, -2, 3]"),
        (request(shape=[1, True, 6]), "query: shape must be a list of whole numbers"),
        (request(shape=[7]), "query: [7] has 7 numbers, got 6"),
        (request(data=[1, 2, 3, 4, 5, True]), "query: data must hold only numbers"),
        (request(data=[1, 2, 3, 4, 5, "6"]), "query: data must hold only numbers"),
        (request(data=[[1, 2, 3], [4, 5]]), "query: data must be [1, 2, 3] numbers, got uneven lists"),
        (request(data=None), "query: data must be a list of numbers"),
        (request(datatype="UINT8", data=[1, 2, 3, 4, 5, 300]), "query: UINT8 must be from 0 to 255, got others"),
        (request(datatype="INT32", data=[1, 2, 3, 4, 5, 0.5]), "query: INT32 must hold whole numbers, got others"),
        (
            request(parameters={"binary_data_size": 24}),
            "query: binary_data_size must be the number of its bytes, got 24",
        ),
        (request() + b"1234", "the body must be valid JSON"),
    ],
)
def test_malformed_messages(body: bytes, sentence: str) -> None:
    with pytest.raises(Refused) as fault:
        read(body, None, "inputs")
    assert sentence in str(fault.value)


def test_bytes_that_are_left_over_or_missing_are_refused() -> None:
    body, headers = write("inputs", {"query": (np.zeros((1, 2), dtype=np.float32), True)})
    with pytest.raises(Refused, match="must end with its last tensor, got 3 bytes more"):
        read(body + b"abc", headers[LENGTH], "inputs")
    with pytest.raises(Refused, match="binary_data_size must be the number of its bytes, got 8"):
        read(body[:-1], headers[LENGTH], "inputs")
    with pytest.raises(Refused, match=f"{LENGTH} must be the length of the JSON object"):
        read(body, "9999", "inputs")


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.random.fork_rng():
        return nn.Sequential(nn.Flatten(), nn.Linear(6, 4)).eval()


@pytest.fixture(scope="module")
def grpc_port() -> int:
    with taken("127.0.0.1", 0, "port") as free:
        port: int = free.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def address(network: nn.Module, grpc_port: int) -> Iterator[str]:
    plane = DataPlane(OneModel("linear", Runner(network), SHAPE, 4))
    app = application(Protocol(plane).routes, lifespan=lambda app: serving_grpc(plane, "127.0.0.1", grpc_port))
    with serving(app) as url:
        yield url.removeprefix("http://")


def asked(client: Any, queries: np.ndarray, binary: bool, kind: str = "FP32") -> Any:
    http = pytest.importorskip("tritonclient.http", reason="pip install 'tritonclient[http]'")
    given = http.InferInput("query", list(queries.shape), kind)
    given.set_data_from_numpy(queries, binary_data=binary)
    wanted = http.InferRequestedOutput("prediction", binary_data=binary)
    return client.infer("linear", [given], outputs=[wanted], request_id="7")


@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client_is_answered(binary: bool, address: str, network: nn.Module) -> None:
    http = pytest.importorskip("tritonclient.http", reason="pip install 'tritonclient[http]'")
    queries = np.random.default_rng(0).random((5, *SHAPE), dtype=np.float32)
    with http.InferenceServerClient(address) as client, torch.no_grad():
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("linear")
        assert client.get_server_metadata()["name"] == "parmtrain"
        about = client.get_model_metadata("linear", "1")
        assert about["inputs"] == [{"name": "query", "datatype": "FP32", "shape": [-1, 2, 3]}]
        answer = asked(client, queries, binary)
        assert answer.get_response()["id"] == "7"
        assert np.allclose(answer.as_numpy("prediction"), network(torch.from_numpy(queries)), atol=1e-5)
        doubles = asked(client, queries.astype(np.float64), binary, "FP64")
        assert np.allclose(doubles.as_numpy("prediction"), answer.as_numpy("prediction"), atol=1e-5)


def test_tritons_client_is_told_what_is_wrong(address: str) -> None:
    http = pytest.importorskip("tritonclient.http", reason="pip install 'tritonclient[http]'")
    with http.InferenceServerClient(address) as client:
        for queries, sentence in (
            (
                np.zeros((1, 3, 2), dtype=np.float32),
                r"query must have shape \[b, 2, 3\], b from 1 to 256, got \[1, 3, 2\]",
            ),
            (np.full((1, *SHAPE), np.nan, dtype=np.float32), "query must hold finite numbers"),
        ):
            with pytest.raises(http.InferenceServerException, match=sentence):
                asked(client, queries, binary=True)
        with pytest.raises(http.InferenceServerException, match="the model must be linear, version 1, got another"):
            client.get_model_metadata("another")
        assert not client.is_model_ready("another")


def test_tritons_grpc_client_is_answered(address: str, grpc_port: int, network: nn.Module) -> None:
    client_of = pytest.importorskip("tritonclient.grpc", reason="pip install 'tritonclient[grpc]'")
    queries = np.random.default_rng(0).random((5, *SHAPE), dtype=np.float32)
    client = client_of.InferenceServerClient(f"127.0.0.1:{grpc_port}")
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("linear")
        assert client.get_server_metadata().extensions == ["binary_tensor_data"]
        about = client.get_model_metadata("linear", "1")
        assert [(one.name, one.datatype, list(one.shape)) for one in about.inputs] == [("query", "FP32", [-1, 2, 3])]
        for kind in (np.float32, np.float64):
            given = client_of.InferInput("query", list(queries.shape), "FP32" if kind is np.float32 else "FP64")
            given.set_data_from_numpy(queries.astype(kind))
            answer = client.infer("linear", [given], request_id="7", parameters={"note": "kept"})
            assert answer.get_response().id == "7"
            with torch.no_grad():
                assert np.allclose(answer.as_numpy("prediction"), network(torch.from_numpy(queries)), atol=1e-5)
        wrong = client_of.InferInput("query", [1, 3, 2], "FP32")
        wrong.set_data_from_numpy(np.zeros((1, 3, 2), dtype=np.float32))
        with pytest.raises(client_of.InferenceServerException, match=r"query must have shape \[b, 2, 3\]") as fault:
            client.infer("linear", [wrong])
        assert fault.value.status() == "StatusCode.INVALID_ARGUMENT"
        with pytest.raises(
            client_of.InferenceServerException, match="the model must be linear, version 1, got another"
        ):
            client.get_model_metadata("another")
    finally:
        client.close()


@pytest.mark.parametrize("kind", ["FP32", "FP64", "INT32", "UINT8", "INT64"])
def test_numbers_in_typed_fields_are_read(kind: str) -> None:
    pytest.importorskip("grpc", reason="pip install 'parmtrain[grpc]'")
    from parmtrain.serving.protocol.grpc_messages import MESSAGE
    from parmtrain.serving.protocol.grpc_server import message_of
    from parmtrain.serving.protocol.grpc_tensors import CONTENTS

    field = next(field for field, kinds in CONTENTS.items() if kind in kinds)
    request = MESSAGE["ModelInferRequest"](model_name="linear", id="7")
    one = request.inputs.add(name="query", datatype=kind, shape=[1, 2, 3])
    getattr(one.contents, field).extend([1, 2, 3, 4, 5, 6])
    request.parameters["deadline_ms"].int64_param = 50
    message = message_of(MESSAGE["ModelInferRequest"].FromString(request.SerializeToString()))
    assert message.tensors["query"].tolist() == [[[1, 2, 3], [4, 5, 6]]]
    assert message.tensors["query"].dtype == np.dtype(TYPES[kind])
    assert message.parameters == {"deadline_ms": 50}
    request.raw_input_contents.extend([b"", b""])
    with pytest.raises(Refused, match="raw_input_contents must have one entry for each input, 1, got 2"):
        message_of(request)
