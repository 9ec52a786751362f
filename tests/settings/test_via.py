"""``ssh://user@host:port``: what is understood, and what never reaches ssh or a shell."""

from __future__ import annotations

import shlex

import pytest

from innoclone.errors import UsageError
from innoclone.settings.via import parse_via, way_from, way_of
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.ssh import SshRoute


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("ssh://dbhost", SshRoute("dbhost")),
        ("SSH://dbhost/", SshRoute("dbhost")),
        ("ssh://me@db1.example.com:2222", SshRoute("db1.example.com", "me", 2222)),
        ("ssh://[fe80::1%eth0]:22", SshRoute("fe80::1%eth0", None, 22)),
        ("ssh://ACME\\me@10.0.0.7", SshRoute("10.0.0.7", "ACME\\me")),
    ],
)
def test_understood(text, route):
    assert parse_via(text) == route
    assert parse_via(str(route)) == route


@pytest.mark.parametrize(
    "text",
    [
        "dbhost", "http://dbhost", "ssh://", "ssh://-oProxyCommand=id", "ssh://-oProxyCommand=touch%20x", "ssh://a b",
        "ssh://$(id)", "ssh://`id`", "ssh://a;id", "ssh://-lroot@h", "ssh://-x@h", "ssh://@h", "ssh://a@b@h", "ssh://h:",
        "ssh://h:0", "ssh://h:65536", "ssh://h:22x", "ssh://h/backups", "ssh://u:secret@h", "ssh://[::1", "ssh://'h'",
        "ssh://h\nProxyCommand id", "ssh://u\\'@h", "ssh://%h",
    ],
)  # fmt: skip
def test_refused(text):
    with pytest.raises(UsageError):
        parse_via(text)


@pytest.mark.parametrize("program", ["", "-x", "a\nb", "a\0b"])
def test_refused_programs(program):
    with pytest.raises(UsageError):
        parse_via("ssh://h", program=program)


@pytest.mark.parametrize("program", ["innoclone", "/opt/inno clone/innoclone", "a;id", "$(id)", "'", "~/b/innoclone"])
def test_the_shell_over_there_reads_one_word(program):
    command = parse_via("ssh://h", program=program).command(["-oBatchMode=yes"])
    assert command[:-1] == ["ssh", "-T", "-oClearAllForwardings=yes", "-oBatchMode=yes", "--", "h"]
    assert shlex.split(command[-1]) == [program, "serve", "--stdio"]


def test_the_arguments_of_ssh():
    command = SshRoute("h", "me", 22).command()
    assert command == ["ssh", "-T", "-oClearAllForwardings=yes", "-p22", "-lme", "--", "h", "innoclone serve --stdio"]


def test_what_is_cloned():
    for dsn, from_dir, text in (
        (None, None, "ssh://h"), ("mysql://me@localhost", None, "mysql://me@localhost on ssh://h"), (None, "/b", "ssh://h/b"),
    ):  # fmt: skip
        assert str(way_of("ssh://h", dsn=dsn, from_dir=from_dir, program=None, say=print)) == text
        assert str(way_from("ssh://h", dsn, None, from_dir, None, say=print)) == text


@pytest.mark.parametrize(
    "words",
    [
        ("ssh://h", "mysql://h", None, "/b"), ("ssh://h", "mysql://u:p@h", None, None), ("ssh://h", None, None, ""),
        ("ssh://h", None, "secret", None), ("ssh://h", Endpoint(), None, None), (None, None, None, "/b"),
        ("ssh://h", "/b", None, None),
    ],
)  # fmt: skip
def test_what_can_not_be_cloned(words):
    with pytest.raises(UsageError) as caught:
        way_from(*words, None, say=print)
    assert "secret" not in caught.value.message


def test_a_store_is_no_directory_of_the_other_host() -> None:
    """What to do is said, and the address isn't repeated: a careless one has a password in it."""
    for given in ({"dsn": None, "from_dir": "s3://key:secret@bucket/p"}, {"dsn": "s3://bucket/p", "from_dir": None}):
        with pytest.raises(UsageError, match="store") as caught:
            way_of("ssh://db1", **given, program=None, say=print)
        assert "innoclone restore URL DIRECTORY" in caught.value.advice
        assert "secret" not in str(caught.value)
