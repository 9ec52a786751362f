"""Replacing a managed server's data: what is refused, and before what; and what an earlier replacement left."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clones import rows
from innoclone.commands import replace as operation
from innoclone.commands.options import ReplaceOptions
from innoclone.commands.replace import replace_data
from innoclone.errors import (
    AccessDenied,
    BootFailed,
    CloneError,
    ConfigurationMismatch,
    PrivilegeMissing,
    ServerNotFound,
    TargetExists,
    TargetUnusable,
)
from innoclone.files.base import server_process
from innoclone.records.managedserver import Managed
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.server.trial import check_trial
from innoclone.transport.endpoint import Endpoint
from managed import MakeManaged, ManagedServer, assert_old, free_port
from servers import ServerFactory
from users import passable


def assert_refused(
    server: ManagedServer, small_donor: Server, kind: type[CloneError], words: str, *hint: str, **changes: Any
) -> None:
    """Before anything is touched, and nothing was copied."""
    process = server_process(server.data)
    options = server.options(small_donor)
    with pytest.raises(kind, match=words) as caught:
        replace_data(replace(options, managed=replace(options.managed, **changes)))
    assert all(word in caught.value.advice for word in hint)
    assert not server.places.new.exists()
    assert server_process(server.data) == process


def test_what_can_not_be_replaced_is_refused(make_managed: MakeManaged, small_donor: Server, tmp_path: Path) -> None:
    server = make_managed()
    (server.data / "mine" / "dump.sql").touch()
    assert_refused(server, small_donor, TargetUnusable, r"holds tables and also dump\.sql")
    (server.data / "mine" / "dump.sql").unlink()
    (server.data / "theirs").mkdir()
    (server.data / "theirs" / "notes.txt").touch()
    assert_refused(server, small_donor, TargetExists, "schema of the name of .*theirs", "move")
    shutil.rmtree(server.data / "theirs")
    assert_refused(
        server, small_donor, TargetUnusable, "has the data directory",
        endpoint=Endpoint(socket=small_donor.socket, user="root"),
    )  # fmt: skip
    endpoint = Endpoint(socket=tmp_path / "none", user="root")
    assert_refused(server, small_donor, TargetUnusable, "can't be asked: .* a server runs on", endpoint=endpoint)
    if os.geteuid() == 0:
        os.chown(server.data, 4711, -1)
        assert_refused(server, small_donor, TargetUnusable, "belongs to user id 4711, and the data in it to 0")
        os.chown(server.data, 0, -1)
    identity = server.data / "auto.cnf"
    mine = identity.read_text()
    identity.write_text("[auto]\nserver-uuid=11111111-2222-3333-4444-555555555555\n")  # as another directory's
    assert_refused(server, small_donor, TargetUnusable, "is the data of 11111111")
    identity.write_text(mine)
    assert_old(server)


def test_an_account_that_is_not_enough_is_refused(
    make_managed: MakeManaged, small_donor: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the server; and on the donor, as soon as that can be known: its accounts are the server's then."""
    server = make_managed()
    socket = server.managed.endpoint
    server.run("CREATE USER guest", "CREATE USER manager", "GRANT PROCESS ON *.* TO manager")
    assert_refused(
        server, small_donor, TargetUnusable, "lacks a privilege: .*PROCESS", "GRANT PROCESS",
        endpoint=replace(socket, user="guest"),
    )  # fmt: skip
    assert_refused(
        server, small_donor, TargetUnusable, "refuses its account", "accounts of the donor", "CREATE USER",
        endpoint=replace(socket, user="nobody"),
    )  # fmt: skip
    process = server_process(server.data)
    options = server.options(small_donor)
    managed = replace(options.managed, endpoint=replace(socket, user="manager"))
    root = replace(options.clone, donor=Endpoint("127.0.0.1", small_donor.port, "root", ""))
    with pytest.raises(AccessDenied, match="the donor has no account manager") as early:
        replace_data(ReplaceOptions(root, managed))
    assert not server.places.new.exists()
    assert "CREATE USER 'manager'@'localhost'" in early.value.advice
    monkeypatch.setattr(operation, "refuse_without_account", lambda *_: False)  # for a clone's account of less rights
    with pytest.raises(AccessDenied, match=r"does not do on the donor's data: .*'manager'@'localhost'"):
        replace_data(ReplaceOptions(options.clone, managed))
    assert server_process(server.data) == process
    assert_old(server)


def test_what_can_not_be_tried_out_is_refused(make_managed: MakeManaged, small_donor: Server, tmp_path: Path) -> None:
    """Without `trial = false` no server is stopped for data that nobody has started a server on."""
    server = make_managed()
    assert_refused(
        server, small_donor, ServerNotFound, "no mysqld that new data could be tried out with", "trial = false",
        start=("/bin/false",), mysqld=tmp_path / "none",
    )  # fmt: skip
    other = tmp_path / "mysqld"
    other.write_text("#!/bin/sh\necho 'mysqld  Ver 9.7.3 for Linux on x86_64'\n")
    other.chmod(0o755)
    words = r"the managed server is MySQL 9\.7\.\d+\S*, .*mysqld is 9\.7\.3"
    assert_refused(server, small_donor, ServerNotFound, words, "trial = false", start=("/bin/false",), mysqld=other)
    assert_old(server)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_an_owner_that_could_not_try_the_data_out_is_refused(tmp_path: Path, programs: Programs) -> None:
    managed = Managed(tmp_path / "data", Endpoint())
    folder = tmp_path / "data.innoclone"
    for path in (managed.datadir, folder):
        path.mkdir()
    os.chown(managed.datadir, 4711, 4711)
    tool = tmp_path / "mysqld"  # that anybody can execute
    tool.write_text(f"#!/bin/sh\necho 'mysqld  Ver {programs.version} for Linux on x86_64'\n")
    tool.chmod(0o755)
    managed = replace(managed, mysqld=tool)
    with passable(tmp_path):
        check_trial(managed, programs.version, managed.datadir, folder)
        folder.chmod(0o700)
        with pytest.raises(TargetUnusable, match=r"user id 4711\) can't reach"):
            check_trial(managed, programs.version, managed.datadir, folder)
        tool.chmod(0o700)
        with pytest.raises(BootFailed, match=r"user id 4711 can't execute"):
            check_trial(managed, programs.version, managed.datadir, folder)


def test_a_second_replacement_from_a_donor_with_tables_of_all_engines(
    make_managed: MakeManaged, make_server: ServerFactory
) -> None:
    """What the first one left is in nobody's way; the server is reached over TCP."""
    donor = make_server()
    rows(donor, "CREATE DATABASE theirs")
    for name, table in (
        ("theirs.t", "(a INT PRIMARY KEY) PARTITION BY HASH (a) PARTITIONS 2"), ("theirs.m", "(a INT) ENGINE=MyISAM"),
        ("odd.m", "(a INT) ENGINE=MyISAM"), ("odd.g", "(a INT) ENGINE=MERGE UNION=(odd.m)"),
        ("list.c", "(a INT NOT NULL) ENGINE=CSV"), ("past.a", "(a INT) ENGINE=ARCHIVE"),
        ("`ä-1`.h", "(a INT) ENGINE=MEMORY"),
    ):  # fmt: skip
        rows(donor, f"CREATE DATABASE IF NOT EXISTS {name.partition('.')[0]}")
        rows(donor, f"CREATE TABLE {name} {table}")
    rows(donor, "CREATE DATABASE nothing")
    rows(donor, "CREATE USER manager IDENTIFIED BY 'geheim'")
    port = free_port()
    server = make_managed("--skip-networking=0", f"--port={port}", "--bind-address=127.0.0.1")
    server.run("CREATE USER manager IDENTIFIED BY 'geheim'", "GRANT PROCESS ON *.* TO manager")
    server.managed = replace(server.managed, endpoint=Endpoint("127.0.0.1", port, "manager", "geheim"))
    with pytest.raises(PrivilegeMissing, match=r"account manager.* lacks PROCESS on the donor"):
        replace_data(server.options(donor))
    assert not server.places.new.exists()
    rows(donor, "GRANT PROCESS ON *.* TO manager")  # it sees no schema
    for _ in range(2):
        replace_data(server.options(donor))
        assert server.schemas() == {"theirs", "odd", "list", "past", "nothing", "ä-1"}
        assert server.run("SELECT COUNT(*) FROM odd.m, list.c, theirs.m, theirs.t") == [(0,)]
    process = server_process(server.data)
    (server.data / "nothing" / "forgotten.txt").touch()
    with pytest.raises(TargetExists, match=r"the name of .*nothing"):
        replace_data(server.options(donor))
    assert server_process(server.data) == process


def test_binary_logs_and_tablespaces_outside_are_refused(
    make_managed: MakeManaged, small_donor: Server, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    logging = make_managed(f"--log-bin={outside / 'binlog'}")
    assert_refused(logging, small_donor, TargetUnusable, "log_bin_basename=.*, which is not its data directory")
    assert_old(logging)
    tables = make_managed(f"--innodb-directories={outside}")
    tables.run(f"CREATE TABLE mine.far (a INT) DATA DIRECTORY = '{outside}'")
    assert_refused(tables, small_donor, TargetUnusable, "tablespace outside its data directory")
    pages = make_managed(f"--innodb-doublewrite-dir={outside}")
    assert_refused(pages, small_donor, TargetUnusable, "innodb_doublewrite_dir=")


def test_a_donor_that_does_not_fit_is_refused(make_managed: MakeManaged, make_server: ServerFactory) -> None:
    server = make_managed()
    other = make_server(init=["--innodb-page-size=8k"])
    assert_refused(server, other, ConfigurationMismatch, "innodb_page_size is 8192 on the donor")
    assert_old(server)
