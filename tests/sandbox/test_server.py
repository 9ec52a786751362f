"""innoclone.sandbox.server: a server that outlives the command, found again, stopped, removed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pymysql
import pytest

from innoclone import errors
from innoclone.cli.arguments import parse_size
from innoclone.sandbox import server as sandbox
from innoclone.server.programs import Programs


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # A blank and more bytes than a socket's path may have: neither must reach the socket.
    folder = tmp_path / "a state" / ("x" * 100)
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


def clone_account(box: sandbox.Sandbox) -> pymysql.Connection[pymysql.cursors.Cursor]:
    return pymysql.connect(host="127.0.0.1", port=box.port, user=sandbox.ACCOUNT, password=box.password)


def test_life_of_a_sandbox(programs: Programs, state: Path) -> None:
    box = sandbox.start("one", programs=programs, options=["--max-connections=77"])
    try:
        assert box.running()
        assert sandbox.list_sandboxes() == [box] == [sandbox.find("one")]
        assert str(box.port) in box.dsn
        assert box.option_file.stat().st_mode & 0o077 == 0
        with pytest.raises(errors.UsageError, match="runs already"):
            sandbox.start("one", programs=programs)
        with box.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT @@gtid_mode, @@log_bin, @@max_connections, @@gtid_executed")
            assert cursor.fetchone() == ("ON", 1, 77, "")
            cursor.execute("CREATE SCHEMA kept")
        with clone_account(box) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT plugin_status FROM information_schema.plugins WHERE plugin_name = 'clone'")
            assert cursor.fetchone() == ("ACTIVE",)
            cursor.execute("SHOW GRANTS")
            assert any("BACKUP_ADMIN" in grant for (grant,) in cursor.fetchall())
        sandbox.stop("one")
        assert not box.running()
        assert not box.socket.parent.exists()
        with pytest.raises(errors.UsageError, match="does not run"):
            sandbox.find("one")

        again = sandbox.start("one", programs=programs)
        assert (again.password, again.port) == (box.password, box.port)
        sandbox.stop("one")
        with socket.create_server(("127.0.0.1", box.port)):
            again = sandbox.start("one", programs=programs)
        assert again.port != box.port
        with again.connect("kept") as connection, connection.cursor() as cursor:
            cursor.execute("SELECT @@max_connections")
            assert cursor.fetchone() == (77,)
    finally:
        sandbox.remove("one")
    assert sandbox.list_sandboxes() == []
    assert not (state / "innoclone" / "sandbox" / "one").exists()


def test_a_process_that_only_has_the_number_is_not_the_sandbox(tmp_path: Path) -> None:
    box = sandbox.Sandbox("x", tmp_path, "9.9.9", (), "", os.getpid(), 1, tmp_path / "none")
    assert not box.running()
    with pytest.raises(errors.ConnectFailed):
        box.connect()


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "a b", "a\n"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(errors.UsageError, match="no name"):
        sandbox.start(name)


def test_unknown_name() -> None:
    with pytest.raises(errors.UsageError, match="there is no sandbox nobody"):
        sandbox.stop("nobody")


def test_start_that_fails_names_the_reason_and_cleans_up(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t"))
    with pytest.raises(errors.BootFailed, match="nonsense"):
        sandbox.start("bad", programs=programs, options=["--nonsense"])
    assert sandbox.list_sandboxes() == []
    assert list((tmp_path / "t").iterdir()) == []


@pytest.mark.parametrize(("text", "size"), [("300M", 300 << 20), ("1.5G", 3 << 29), ("2GiB", 2 << 30), ("7", 7)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "0", "-1M", "3X", "1e3"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(errors.UsageError, match="not a size"):
        parse_size(text)


def test_commands(programs: Programs) -> None:
    """The command line, in processes of its own: the server outlives the one that started it."""

    def innoclone(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("innoclone")), "sandbox", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    try:
        started = innoclone("start", "--size", "5M")
        assert started.stderr.endswith("completed OK!\n")
        assert started.stdout.startswith("mysql://clone:")
        (box,) = sandbox.list_sandboxes()
        assert started.stdout == box.dsn + "\n"
        assert box.name in innoclone("list").stdout
        loaded = innoclone("fill", "--load", "--ddl", "--seconds", "1")
        assert "transactions in" in loaded.stderr
        assert loaded.returncode == 0
        asked = innoclone("shell", "-e", "SELECT COUNT(*) > 0 FROM traffic.plus")
        assert asked.stdout.splitlines()[1:] == ["1"]
        assert innoclone("fill").returncode == errors.UsageError.exit_status
        assert innoclone("stop").returncode == 0
        assert not box.running()
        assert "stopped" in innoclone("list").stdout
    finally:
        removed = innoclone("stop", "--remove")
    assert removed.returncode == 0
    assert sandbox.list_sandboxes() == []


def test_a_state_folder_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert sandbox.list_sandboxes() == []
    with pytest.raises(errors.TargetUnusable, match="Not a directory"):
        sandbox.start("one")
