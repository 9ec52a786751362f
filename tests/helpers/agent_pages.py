"""The web pages of an agent of the tests."""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents import PATIENCE, RunningAgent
from innoclone.server.programs import Programs

PAGE = re.compile(r"status page on http://127\.0\.0\.1:(\d+)/")


@pytest.fixture
def agent(programs: Programs, tmp_path: Path) -> Iterator[RunningAgent]:
    with RunningAgent(programs, tmp_path / "state", "--web-port=0") as running:
        yield running


def port_of(agent: RunningAgent) -> int:
    return int(PAGE.findall(agent.log.read_text())[-1])


def get(
    port: int, path: str, *, method: str = "GET", host: str = "127.0.0.1", **headers: str
) -> tuple[http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer, body


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.1)
