"""Words that are said in a thread of their own, so that nobody else waits for who reads them."""

from __future__ import annotations

import logging
import os
import sys
import threading

import pytest

from innoclone.report.aside import Aside
from innoclone.report.logs import log_to
from innoclone.report.output import Output

PATIENCE = 10.0  # seconds


def test_all_in_order() -> None:
    """When the block has ended all is said, in the order in which it was given."""
    said: list[int] = []
    with Aside() as aside:
        for number in range(1000):
            aside.say(lambda number=number: said.append(number))  # type: ignore[misc]
    assert said == list(range(1000))


def test_bounded() -> None:
    """Who has nobody that reads drops what is too much, and says what waited once there is somebody."""
    said: list[int] = []
    reads = threading.Event()
    with Aside(most=10) as aside:
        aside.say(lambda: assert_set(reads))
        for number in range(1000):
            aside.say(lambda number=number: said.append(number))  # type: ignore[misc]
        reads.set()
    assert said[:9] == list(range(9))
    assert len(said) <= 11


def test_what_fails_does_not_silence_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[int] = []
    with Aside() as aside:
        aside.say(lambda: said.append(1 // 0))
        aside.say(lambda: said.append(1))
    assert said == [1]
    assert "ZeroDivisionError" in capsys.readouterr().err


def assert_set(event: threading.Event) -> None:
    """Wait for it."""
    assert event.wait(PATIENCE)


def test_a_full_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who logs goes on, though nobody reads stderr; once somebody does, it is all there."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        handlers = list(logging.getLogger("innoclone").handlers)
        with Aside() as aside:
            log_to(Output(), aside.say)
            for number in range(20_000 // 10):  # of 100 bytes: more than a pipe takes
                logging.getLogger("innoclone").info("%0100d", number)
            logging.getLogger("innoclone").handlers[:] = handlers  # we got here
            emptied: list[bytes] = []
            reader = threading.Thread(target=lambda: emptied.extend(iter(lambda: os.read(reading, 1 << 16), b"")))
            reader.start()
    reader.join(PATIENCE)
    os.close(reading)
    lines = b"".join(emptied).splitlines()
    assert [int(line.split()[-1]) for line in lines] == list(range(2000))
