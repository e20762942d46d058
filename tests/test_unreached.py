"""What cannot be reached or read is told of in plain English, with what to do."""

import asyncio
import logging
import socket
from pathlib import Path

import aiohttp
import pytest

from parmtrain.adapt import Adaptation, AdaptSettings
from parmtrain.errors import ConfigError
from parmtrain.serving.fleet.endpoints import Endpoint
from parmtrain.serving.fleet.over_http import HttpTransport
from parmtrain.serving.fleet.remote import InstanceError
from parmtrain.serving.protocol.admission import Token


@pytest.fixture
def nobody() -> str:
    """An address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def why(address: str) -> str:
    """Return why a server of a fleet is not ready."""

    async def asked() -> None:
        async with aiohttp.ClientSession() as session:
            await HttpTransport(session, Endpoint(address, "deployed")).require_ready()

    with pytest.raises(InstanceError) as told:
        asyncio.run(asked())
    return str(told.value)


def test_a_server_that_is_not_there(nobody: str) -> None:
    wanted = f"a server must listen at {nobody}, got: Connection refused; start it, or name another address"
    assert why(f"http://{nobody}") == wanted


def test_a_host_that_is_not_there() -> None:
    said = why("http://nowhere.invalid:9000")
    assert said.startswith("a server must listen at nowhere.invalid:9000, got: ")
    assert "Errno" not in said


def test_a_front_that_is_not_there(nobody: str, caplog: pytest.LogCaptureFixture) -> None:
    adaptation = object.__new__(Adaptation)
    adaptation.settings = AdaptSettings(status=f"http://{nobody}/status")
    with caplog.at_level(logging.WARNING):
        assert adaptation._audited() == (0, 0.0)
    assert caplog.messages == [
        f"status=http://{nobody}/status must be /status of a front that runs with audit=…, but: Connection refused; "
        "no version is taken back meanwhile"
    ]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must be a text file, but: No such file or directory: '.*token'"):
        Token.read(str(tmp_path / "token"))
