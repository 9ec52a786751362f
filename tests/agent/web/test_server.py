"""The status page in a real browser, and what the web server refuses."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from agent_clones import allow, clone_statement, ok, start_slow_clone
from agent_pages import agent, get, port_of, until
from agents import PATIENCE, RunningAgent
from browser import Browser
from innoclone.agent.daemon import Agent
from innoclone.agent.settings import AgentSettings, read_settings
from innoclone.agent.web import server as web
from innoclone.errors import ConnectFailed, UsageError
from innoclone.records.status import Stage
from innoclone.server.mysqld import Server
from servers import PASSWORD

__all__ = ["agent"]


ANSWERS = ("/", "/status.json", "/metrics")
HOSTILE = "<img src=x onerror=document.title=666>"


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return Browser(tmp_path_factory.mktemp("browser"))


def url(agent: RunningAgent, path: str = "/") -> str:
    return f"http://127.0.0.1:{port_of(agent)}{path}"


def status(agent: RunningAgent) -> dict[str, Any]:
    return dict(json.loads(get(port_of(agent), "/status.json")[1]))


class Seen(HTMLParser):
    """Elements of a page as the browser had it: their names, attributes and texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))

    def handle_data(self, data: str) -> None:
        if self.elements:
            self.elements[-1][2].append(data)

    def text(self, number: str) -> str:
        return next("".join(texts).strip() for _, attributes, texts in self.elements if attributes.get("id") == number)

    def text_of(self, tag: str) -> str:
        return next("".join(texts).strip() for name, _, texts in self.elements if name == tag)

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [
            attributes for name, attributes, _ in self.elements
            if name == tag and all(attributes.get(key.rstrip("_")) == value for key, value in wanted.items())
        ]  # fmt: skip


# ---- the page ----------------------------------------------------------------------------------------------


def test_a_running_clone_in_a_browser(agent: RunningAgent, donor: Server, tmp_path: Path, browser: Browser) -> None:
    """With an error of before in its history, and a name that would be a script were it not escaped."""
    allow(agent, donor)
    agent.mysql(clone_statement(donor, tmp_path / "first").replace(PASSWORD, "wrong"))
    target = tmp_path / HOSTILE
    thread, _ = start_slow_clone(agent, donor, target)
    until(lambda: len(status(agent)["curve"]) >= 2)
    page = browser.dom(url(agent))
    seen = Seen(page)
    assert seen.text("live") == "live"
    assert seen.text("state") == "In Progress"
    assert seen.text("source") == f"clone@127.0.0.1:{donor.port}"
    assert seen.text("destination") == str(target)
    assert re.fullmatch(r"\d+\.\d %", seen.text("percent"))
    assert 0 < float(seen.text("percent")[:-2]) < 100
    stages = {row["data-stage"]: row["data-state"] for row in seen.all("tr") if "data-stage" in row}
    assert list(stages) == [stage.value for stage in Stage][:7]
    assert stages["FILE COPY"] == "In Progress"
    assert stages["REDO COPY"] == "Not Started"
    widths = [float(re.findall(r"width: ([\d.]+)%", row["style"] or "")[0]) for row in seen.all("i")]
    assert 0 < widths[1] < 100
    assert sum(widths) == widths[1]
    (data,) = seen.all("polyline", class_="data")
    assert len((data["points"] or "").split()) >= 2
    assert "error 1045: Access denied" in page
    assert re.fullmatch(r"\d+ % . innoclone agent", seen.text_of("title"))
    assert seen.all("img") == []
    assert PASSWORD not in page
    picture = tmp_path / "page.png"
    browser.screenshot(url(agent), picture, "--window-size=1080,900")
    assert picture.read_bytes()[16:24] == (1080).to_bytes(4) + (900).to_bytes(4)
    ok(agent.mysql("CLONE INSTANCE STOP"))
    thread.join(PATIENCE)
    seen = Seen(browser.dom(url(agent)))
    assert seen.text("state") == "Failed"
    assert seen.text("error").startswith("ERROR 1317: ")
    assert seen.all("span", class_="badge interrupted")


def test_an_agent_that_never_cloned(agent: RunningAgent, browser: Browser) -> None:
    seen = Seen(browser.dom(url(agent)))
    (nothing,) = seen.all("section", id="nothing")
    (clone,) = seen.all("section", id="clone")
    assert ("hidden" in nothing, "hidden" in clone) == (False, True)
    assert seen.text("live") == "live"


def test_what_is_long_stays_in_its_place(tmp_path: Path, browser: Browser) -> None:
    """The position in the row of facts, a directory and an error in the history: by the page's own style."""
    css = (Path(web.__file__).parent / "page" / "page.css").read_text()
    facts = {
        "data": "148 MiB",
        "network": "148 MiB",
        "took": "0:03",
        "donor": "9.7.4-2",
        "position": "binlog.000001:977796800",
    }
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts.items())
    long = "/srv/" + "backup" * 30
    row = f"<tr><td>1<td>clone<td>Failed<td>2026<td>0:03<td>1 MiB<td>{long}<td>{long}</tr>"
    row += f"<tr class=why><td><td colspan=7>{long * 2}</tr>"
    script = (
        "document.title = [...document.querySelectorAll('dd, .scroll, #facts')]"
        ".filter(each => each.scrollWidth > each.clientWidth"
        " || each.getBoundingClientRect().right > innerWidth).length + ' too wide'"
    )
    page = tmp_path / "long.html"
    page.write_text(
        f"<!doctype html><style>{css}</style><body><dl id=facts style='width: 600px'>{cells}</dl>"
        f"<div class=scroll><table id=history><tbody>{row}</table></div><script>{script}</script>"
    )
    assert Seen(browser.dom(page.as_uri(), "--window-size=1000,600")).text_of("title") == "0 too wide"


def test_the_page_needs_nothing_from_elsewhere(agent: RunningAgent) -> None:
    answer, page = get(port_of(agent), "/")
    assert re.findall(r"""(?:src|href|url\(|@import)\s*=?\s*["']?([^"'\s>]+)""", page) == ["data:,"]
    assert set(re.findall(r"https?://[^\s\"]+", page)) == {"http://www.w3.org/2000/svg"}, "a name space, not an address"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "innerHTML" not in page


# ---- what is refused ---------------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    """An agent in this process."""
    monkeypatch.setattr(web, "REQUEST_TIMEOUT", 1.0)
    agent = Agent(AgentSettings(folder=tmp_path / "agent", bind_address="", web_port=0))
    thread = threading.Thread(target=agent.serve)
    thread.start()
    yield agent
    agent.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def web_port(agent: Agent) -> int:
    assert agent.web is not None
    return agent.web.port


def request(path: str, *headers: str) -> bytes:
    """The only one of its connection."""
    lines = (f"GET {path} HTTP/1.1", "Host: localhost", *headers, "Connection: close", "", "")
    return "\r\n".join(lines).encode()


def raw(agent: Agent, data: bytes) -> bytes:
    """Everything that is answered to some bytes, until the agent ends the connection."""
    answer = b""
    with socket.create_connection(("127.0.0.1", web_port(agent)), timeout=PATIENCE) as sock:
        try:
            sock.sendall(data)
            while more := sock.recv(65536):
                answer += more
        except ConnectionResetError:
            pass
    return answer


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "[::2]:1", "",
        "localhost:80@evil.example", "localhost:evil.example", "[::1].evil.example", "[::1", "localhost/",
        "localhost evil.example", "127.0.0.1:123456", "localhost,evil.example", "[127.0.0.1]x:1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ANSWERS)
def test_another_hosts_name_gets_nothing(served: Agent, host: str, path: str) -> None:
    """DNS rebinding: a web site lets its own name lead to this machine."""
    answer, body = get(web_port(served), path, Host=host)
    assert answer.status == 421
    assert "innoclone_" not in body
    assert "agent" not in body


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:9307", "127.1.2.3", "[::1]:9307"])
def test_this_machines_own_names_are_answered(served: Agent, host: str) -> None:
    assert get(web_port(served), "/metrics", Host=host)[0].status == 200


def own_address() -> str:
    """The one that packets to elsewhere would come from; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
        sock.connect(("192.0.2.1", 9))
        return str(sock.getsockname()[0])
    return ""


@pytest.mark.skipif(not own_address(), reason="this machine has loopback addresses only")
def test_what_came_to_another_address_may_name_any(tmp_path: Path) -> None:
    agent = Agent(AgentSettings(folder=tmp_path / "agent", bind_address="", web_port=0, web_bind_address="*"))
    thread = threading.Thread(target=agent.serve)
    thread.start()
    try:
        name = "monitor.example.com"
        assert get(web_port(agent), "/metrics", host=own_address(), Host=name)[0].status == 200
        assert get(web_port(agent), "/metrics", Host=name)[0].status == 421
    finally:
        agent.stop()
        thread.join(PATIENCE)


@pytest.mark.parametrize("path", ANSWERS)
def test_head_and_get_only(served: Agent, path: str) -> None:
    got, body = get(web_port(served), path)
    head, nothing = get(web_port(served), path, method="HEAD")
    assert (got.status, head.status, nothing) == (200, 200, "")
    assert body
    assert {name for name, _ in head.getheaders()} == {name for name, _ in got.getheaders()}
    assert got.headers["Server"].startswith("innoclone/")
    assert got.headers["Cache-Control"] == "no-store"
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "X" * 1000):
        assert get(web_port(served), path, method=method)[0].status == 501


@pytest.mark.parametrize("path", ["/..", "/page.js", "/../agent/accounts.json", "/%2e%2e/", "/metrics/", "*", "x"])
def test_there_is_nothing_else(served: Agent, path: str) -> None:
    assert get(web_port(served), path)[0].status == 404


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\r\n\r\n", b"\0" * 100 + b"\n\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"\x16\x03\x01\x02\x00" + b"\1" * 500,
        b"GET /" + b"a" * 20000, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000,
    ],
    ids=lambda data: repr(data[:20]),
)  # fmt: skip
def test_what_is_no_request_gets_an_error_or_nothing(served: Agent, data: bytes) -> None:
    answer = raw(served, data)
    assert b"innoclone_" not in answer
    assert b"<script>" not in answer
    assert get(web_port(served), "/metrics")[0].status == 200


def test_who_is_slow_loses_the_connection(served: Agent) -> None:
    """Bytes that come now and then don't make it last."""
    sock = socket.create_connection(("127.0.0.1", web_port(served)), timeout=PATIENCE)
    with sock, contextlib.suppress(OSError):  # a reset or a broken pipe
        for _ in range(10 * PATIENCE):
            sock.sendall(b"G")
            time.sleep(0.1)
        pytest.fail("it lasted")


def test_who_takes_no_answer_keeps_nobody_waiting(served: Agent) -> None:
    """More of them than there are threads, each with answers due that fill every buffer on the way."""
    stalled = [socket.create_connection(("127.0.0.1", web_port(served)), timeout=0.2) for _ in range(2 * web.THREADS)]
    for sock in stalled:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400)
    assert raw(served, request("/metrics")).startswith(b"HTTP/1.1 200 ")
    for sock in stalled:
        end = time.monotonic() + PATIENCE
        with sock, contextlib.suppress(ConnectionError):  # it was ended: more can't be sent
            while time.monotonic() < end:
                with contextlib.suppress(TimeoutError):
                    sock.send(b"G")
            pytest.fail("it lasted")


def test_a_connection_may_be_used_again_and_again(served: Agent) -> None:
    """As browsers and Prometheus do; one that is idle for long is closed."""
    connection = http.client.HTTPConnection("127.0.0.1", web_port(served), timeout=PATIENCE)
    for path in ANSWERS:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)
    assert connection.sock.recv(1) == b""
    connection.close()


def test_idle_connections_make_room(served: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens connections and says nothing keeps nobody from the page."""
    monkeypatch.setattr(web, "REQUEST_TIMEOUT", PATIENCE)
    many = 3 * web.MAX_CONNECTIONS
    idle = [socket.create_connection(("127.0.0.1", web_port(served)), timeout=PATIENCE) for _ in range(many)]
    assert raw(served, request("/metrics")).startswith(b"HTTP/1.1 200 ")
    assert idle[0].recv(1) == b""  # the oldest had to go
    for sock in idle:
        sock.close()


def test_a_request_names_one_host_and_it_counts(served: Agent) -> None:
    for head in (
        request("/metrics", "Host: evil.example"),
        request("http://evil.example/metrics"),
    ):
        answer = raw(served, head)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"innoclone_" not in answer


def test_no_secret_is_told(agent: RunningAgent, donor: Server, tmp_path: Path) -> None:
    ok(agent.mysql("CREATE USER 'operator'@'%' IDENTIFIED BY 'of the operator'"))
    thread, _ = start_slow_clone(agent, donor, tmp_path / "copy")
    for path in ANSWERS:
        body = get(port_of(agent), path)[1]
        assert PASSWORD not in body
        assert "operator" not in body
    ok(agent.mysql("CLONE INSTANCE STOP"))
    thread.join(PATIENCE)


# ---- settings ----------------------------------------------------------------------------------------------


def test_off_unless_asked_for(tmp_path: Path) -> None:
    assert AgentSettings().web_port is None
    config = tmp_path / "agent.toml"
    config.write_text("")
    assert read_settings(config, {}).web_port is None
    config.write_text("[web]\n")
    assert (read_settings(config, {}).web_port, read_settings(config, {}).web_bind_address) == (9307, "127.0.0.1")
    config.write_text('[web]\nport = 80\nbind_address = "::1"\n')
    settings = read_settings(config, {"web_port": 81})
    assert (settings.web_port, settings.web_bind_address) == (81, "::1")
    assert read_settings(None, {"web_bind_address": "*"}).web_port == 9307


@pytest.mark.parametrize(
    "text",
    [
        "web = 80",
        "[web]\nhost = 1",
        '[web]\nport = "80"',
        "[web]\nport = true",
        "web_port = 1",
        "[web]\nbind_address = ''",
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, text: str) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(text)
    with pytest.raises(UsageError, match="web"):
        read_settings(config, {})


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConnectFailed) as caught:
        Agent(AgentSettings(folder=tmp_path / "agent", bind_address="", web_port=taken.getsockname()[1]))
    assert caught.value.advice == "name another --web-bind-address or --web-port"
    assert not (tmp_path / "agent" / "agent.sock").exists()
