"""Two frontends on Ray, each with instances of its own: one is killed under load."""

import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from parmtrain.result import Result
from parmtrain.serving.process.descendants import below
from tests.ray_command import Command, on_ray
from tests.servers import worker_number

pytest.importorskip("ray", reason="serving needs Ray: pip install 'parmtrain[ray]'")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.thorough]
PORT, SENDERS = 8381 + 200 * worker_number(), 6
URL = f"http://127.0.0.1:{PORT}/"


def asked(query: torch.Tensor) -> int:
    request = urllib.request.Request(
        URL, query.numpy().tobytes(), {"Content-Type": "application/octet-stream", "Accept": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert len(json.load(answer)["prediction"]) == 10
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code


def frontends(command: Command) -> set[int]:
    return command.running("^ray::ServeReplica:parmtrain:frontend")


def instances(command: Command) -> set[int]:
    return command.running("^ray::Worker")


def test_a_frontend_that_is_killed_loses_no_more_than_it_held(finished: Result, tmp_path: Path) -> None:
    settings = (f"bundle={finished.folder}", "frontends=2", "replicas=2", "parity_replicas=2", "copy_after=0.2")
    queries = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with on_ray(tmp_path, PORT, *settings) as command, ThreadPoolExecutor(SENDERS) as senders:
        command.wait_until_ready()
        assert [asked(query) for query in queries[:10]] == [200] * 10
        (killed, kept), before = sorted(frontends(command)), instances(command)
        assert len(before) == 4
        statuses: list[int] = []
        recovered = threading.Event()

        def send(number: int) -> None:
            while not recovered.is_set():
                statuses.append(asked(queries[number]))

        sending = [senders.submit(send, number) for number in range(SENDERS)]
        try:
            command.wait_for(lambda: len(statuses) > 50)
            os.kill(killed, signal.SIGKILL)
            command.wait_for(lambda: len(instances(command) & before) == 2, 60)  # its own end with it
            after = len(statuses)
            command.wait_for(lambda: len(frontends(command)) == 2 and len(instances(command)) == 4, 120)
            command.wait_for(lambda: len(statuses) > after + 50)
        finally:
            recovered.set()
        for one in sending:
            one.result()
        assert len(statuses) - statuses.count(200) <= SENDERS, statuses
        assert kept in frontends(command)
        assert len(instances(command)) == 4
        assert not instances(command) - below(command.process.pid)
        time.sleep(1)
        assert [asked(query) for query in queries] == [200] * 64
        command.process.send_signal(signal.SIGTERM)
        assert command.process.wait(60) == 0
        command.assert_nothing_left()
