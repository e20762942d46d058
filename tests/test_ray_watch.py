"""When a service on Ray is given up."""

import threading
import time

import pytest

from parmtrain.serving.on_ray.life import Watch, cause_of


def test_a_service_that_is_wrong_for_good_is_given_up() -> None:
    started = time.monotonic()
    sentence = Watch(0.3, lambda: "the frontend is unhealthy", pause=0.02).work()
    assert 0.3 <= time.monotonic() - started < 3
    assert sentence.startswith("the service on Ray has not been well for 0 s: the frontend is unhealthy; ")


@pytest.mark.slow
def test_a_service_that_ray_mends_is_not_given_up() -> None:
    started = time.monotonic()
    Watch(
        0.4, lambda: "" if time.monotonic() - started < 0.8 and int(time.monotonic() * 10) % 2 else "ill", 0.02
    ).work()
    assert time.monotonic() - started > 0.9


@pytest.mark.parametrize("raises", [True, False])
def test_ray_that_does_not_answer_is_given_up(raises: bool) -> None:
    never = threading.Event()

    def look() -> str:
        if raises:
            raise RuntimeError("no controller")
        never.wait()
        return ""

    assert "its controller does not answer" in Watch(0.2, look, 0.02).work()
    never.set()


def test_the_cause_is_the_error_that_was_raised_last() -> None:
    message = (
        "The deployment failed to start 3 times in a row. Error:\n\x1b[36mray::ServeReplica\x1b[39m (pid=1)\n"
        "  File \"x.py\", line 1\nKeyError: 'a'\n\nDuring handling …\n\nparmtrain.errors.ExportError: export is empty\n"
    )
    assert cause_of(message) == "export is empty"
    assert cause_of("Ray is starting") == ""
