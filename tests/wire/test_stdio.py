"""The lines before the clone protocol: what they say, and what is refused."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innoclone.errors import (
    CloneError,
    DonorError,
    PreflightFailed,
    ProtocolError,
    TargetUnusable,
    UsageError,
)
from innoclone.wire.stdio import (
    Hello,
    Join,
    Open,
    Ready,
    Refused,
    Waiting,
    are_of_one_series,
    parse_answer,
    parse_request,
    serialize,
)

SESSION = "0123456789abcdef"


def test_hello():
    hello = Hello(1, "0.1.0")
    assert Hello.parse(hello.serialize()) == hello
    for line in (b"", b"Welcome to dbhost\n", hello.serialize()[:-1], b" " + hello.serialize(), b"innoclone-stdio 1\n"):
        assert Hello.parse(line) is None


@pytest.mark.parametrize(
    ("ours", "theirs", "fit"),
    [("0.1.0", "0.1.7", True), ("0.1.0", "0.2.0", False), ("1.1.0", "0.1.0", False), ("0.1.0", "0.1", True)],
)
def test_series(ours, theirs, fit):
    assert are_of_one_series(ours, theirs) is fit


@given(st.text(min_size=1), st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_requests(directory, secret):
    """A name may be no UTF-8, and anything else."""
    for request in (
        Open(SESSION, secret, directory),
        Join(SESSION),
        Open(SESSION, secret, "/a/\udcff"),
        Open(SESSION, secret, server=directory),
    ):
        line = serialize(request)
        assert line.count(b"\n") == 1
        assert parse_request(line) == request


@pytest.mark.parametrize("answer", [Waiting(), Ready(), Refused("TargetUnusable", "no", "")])
def test_answers(answer):
    assert parse_answer(serialize(answer)) == answer


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\xff\n", b"[]\n", b"7\n", b"{}\n", b"[" * 60000,
        b'{"say": "Join"}\n', b'{"say": "Join", "session": 7}\n',
        b'{"say": "Join", "session": "../../var/run/docker.sock"}\n',
        b'{"say": "Join", "session": "0123456789abcdef\\n"}',
        b'{"say": "Join", "session": "0123456789abcdefa"}\n',
        json.dumps({"say": "Open", "session": SESSION, "secret": "", "directory": "/x"}).encode(),
        json.dumps({"say": "Open", "session": SESSION, "secret": "x", "directory": ""}).encode(),
        serialize(Open(SESSION, "x")), serialize(Open(SESSION, "x", "/x", "mysql://x")),
        serialize(Open(SESSION, "", "/x")),
        json.dumps({"say": "Open", "session": SESSION, "secret": "x", "directory": ["/x"]}).encode(),
        json.dumps({"say": "Refused", "kind": "X", "message": "x"}).encode(),
    ],
)  # fmt: skip
def test_lines_that_make_no_sense(line):
    for parse in (parse_request, parse_answer):
        with pytest.raises(ProtocolError):
            parse(line)


@given(st.binary(max_size=200))
def test_any_bytes(line):
    for parse in (parse_request, parse_answer, Hello.parse):
        with contextlib.suppress(ProtocolError):
            parse(line)


def test_an_error_is_the_same_on_the_other_side():
    refused = Refused.of(TargetUnusable("/x is no clone", hint="name another"))
    error = refused.error("dbhost")
    assert isinstance(error, TargetUnusable)
    assert (error.message, error.advice) == ("dbhost: /x is no clone", "name another")


@pytest.mark.parametrize(
    "error", [PreflightFailed([UsageError("a"), UsageError("b")]), type("Own", (CloneError,), {})("x")]
)
def test_an_error_that_the_other_side_may_not_know(error):
    assert type(Refused.of(error).error("dbhost")) is DonorError
    assert type(Refused("PreflightFailed", "x\x1b[31m\ny", "").error("h")) is DonorError
