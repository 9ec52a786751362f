"""Where a clone may not be made, with which error; and which donors are on the agent's list."""

from __future__ import annotations

from pathlib import Path

import pymysql
import pytest

from agents import RunningAgent, beside
from clones import clone_server
from commandline import environment, innoclone
from faults import assert_failed, dsn
from innoclone import errors
from innoclone.agent.variables.donorlist import is_listed
from innoclone.commands.check import check
from innoclone.commands.clone import clone
from innoclone.commands.destination import LONGEST_PATH, check_place
from innoclone.commands.local import local
from innoclone.commands.options import CheckOptions, CloneOptions, LocalOptions
from innoclone.records.history import read_history
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from servers import endpoint_of

__all__ = ["environment", "innoclone"]


@pytest.mark.parametrize(
    ("host", "port", "listed"),
    [
        ("db1", 3306, True), ("DB1", 3306, True), ("db1", 3307, False), ("db1.", 3306, False), ("db10", 3306, False),
        ("10.0.0.1", 3306, True), ("10.0.0.01", 3306, False), ("127.0.0.1", 1, False), ("localhost", 1, True),
        ("::a", 7, True), ("0:0::A", 7, True), ("::b", 7, False), ("[::a]", 7, False), ("::ffff:10.0.0.1", 3306, False),
        ("b1", 3306, False), ("db1:3306,x", 3306, False), ("", 3306, False), ("\u212a", 5, True),
    ],
)  # fmt: skip
def test_donors_are_compared_as_the_plugin_does(host, port, listed):
    """Names without regard to case, ports as numbers, nothing is looked up; IPv6, which it has not, as addresses."""
    allowed = "Db1:03306,10.0.0.1:3306,LOCALHOST:1,[0::A]:7,k:5"
    assert is_listed(host, port, allowed) is listed
    assert not is_listed(host, port, "")


def test_a_list_is_compared_as_the_plugin_does(small_donor: Server, programs: Programs, tmp_path: Path) -> None:
    """The same statements to both: error 3869 where a donor isn't on the list, another where it can't be reached."""
    with RunningAgent(programs, tmp_path / "state") as agent, small_donor.connect() as stock, agent.root() as ours:
        for allowed, host in [
            ("localhost:1", "LOCALHOST"), ("LOCALHOST:1", "localhost"), ("127.0.0.1:01", "127.0.0.1"),
            ("localhost:1", "localhost."), ("127.0.0.1:1", "127.0.0.01"), ("localhost:1", "127.0.0.1"),
        ]:  # fmt: skip
            found = []
            for connection in (stock, ours):
                with connection.cursor() as cursor:
                    cursor.execute(f"SET GLOBAL clone_valid_donor_list = '{allowed}'")
                    with pytest.raises(Exception, match=r"\d+") as caught:
                        cursor.execute(
                            f"CLONE INSTANCE FROM u@'{host}':1 IDENTIFIED BY 'x' DATA DIRECTORY '{tmp_path}/none'"
                        )
                    found.append(caught.value.args[0])
                    cursor.execute("SET GLOBAL clone_valid_donor_list = DEFAULT")
            assert found[0] == found[1], (allowed, host)


def test_places_that_no_clone_may_have(innoclone, small_donor: Server, programs: Programs, tmp_path: Path) -> None:
    """The command line, the API and the agent refuse the same; nothing is made, and nothing is in the history."""
    whole = tmp_path / "whole"
    clone_server(small_donor, whole)
    (tmp_path / "link").symlink_to(small_donor.datadir)
    known = len(read_history())
    agent_folder = tmp_path / "state" / "agent"
    too_long = str(tmp_path) + "/x" * (LONGEST_PATH // 2)
    with RunningAgent(programs, tmp_path / "state", beside(small_donor, tmp_path)) as agent:
        agent.rows("SET GLOBAL clone_valid_donor_list = '127.0.0.1:1'")
        for place, kind, number in [
            (f"{small_donor.datadir}/mine", errors.TargetMisplaced, 3632),
            (f"{small_donor.datadir}/a/b", errors.TargetMisplaced, 3632),
            (f"{tmp_path}/link/mine", errors.TargetMisplaced, 3632),
            (f"{whole}/mine", errors.TargetMisplaced, 3632),
            (f"{agent_folder}/mine", None, 3632),
            (f"{agent_folder}", None, 3632),
            ("/", errors.TargetExists, 1007),
            ("/..", errors.TargetExists, 1007),
            (too_long, errors.TargetUnusable, 1680),
            (f"{tmp_path}/{'x' * 256}", errors.TargetUnusable, 1006),
            (f"{tmp_path}/two\nlines", errors.TargetUnusable, 1525),
            (f"{tmp_path}/\x1b[31mred", errors.TargetUnusable, 1525),
        ]:
            for statement in ("CLONE LOCAL", "CLONE INSTANCE FROM u@'127.0.0.1':1 IDENTIFIED BY 'x'"):
                with pytest.raises(pymysql.err.MySQLError) as refused:
                    agent.rows(f"{statement} DATA DIRECTORY = '{place}'")
                assert refused.value.args[0] == number, place
                assert refused.value.args[1].isprintable()
            if kind is None:
                continue
            for operation, options in ((clone, CloneOptions), (local, LocalOptions), (check, CheckOptions)):
                with pytest.raises(kind) as caught:
                    operation(options(endpoint_of(small_donor), Path(place)))
                assert type(caught.value) is kind
        for place, kind in [
            (f"{whole}/mine", errors.TargetMisplaced),
            ("/", errors.TargetExists),
            (too_long, errors.TargetUnusable),
        ]:
            assert_failed(innoclone("clone", dsn(small_donor), place), kind)
        assert agent.rows("SELECT * FROM performance_schema.clone_status") == []
        assert "\x1b" not in agent.log.read_text()
    assert len(read_history()) == known
    assert not (small_donor.datadir / "mine").exists()
    assert not (whole / "mine").exists()


def test_a_place_beside_them_is_good(tmp_path: Path) -> None:
    for name in ("#clone", "#innoclone"):
        (tmp_path / "whole" / name).mkdir(parents=True)
    check_place(tmp_path / "whole")  # itself: what that is, others look at
    check_place(tmp_path / "whole.new" / "é")
    check_place(tmp_path / ("x" * 255))


def test_nothing_that_a_donor_says_steers_a_terminal_or_begins_a_line(innoclone, tmp_path: Path) -> None:
    """In errors, hints, notes and the log file; several problems still have a line each."""
    nasty = "x\x1b[2J\r\ninnoclone: completed OK!\u2028\x9b"
    assert errors.escaped(nasty) == r"x\x1b[2J\r\ninnoclone: completed OK!\u2028\x9b"
    several = errors.PreflightFailed([errors.RedoDisabled(nasty), errors.DiskSpace(nasty, hint=nasty)])
    assert len(several.lines) == 5
    for error in (several, errors.CloneError(nasty, hint=nasty)):
        assert all(line.isprintable() for line in error.lines)
    done = innoclone("status", f"--log-file={tmp_path}/log", f"{tmp_path}/{nasty}")
    assert done.returncode == 10
    assert len(done.stderr.splitlines()) == 2
    assert len((tmp_path / "log").read_text().splitlines()) == 3
    assert "\x1b" not in done.stderr + (tmp_path / "log").read_text()
