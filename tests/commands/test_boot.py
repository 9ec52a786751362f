"""innoclone.commands.boot and engine.cloned: recovery, position, what is left behind, servers that are kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from clones import booted, clone_server, rows
from innoclone import errors
from innoclone.commands.boot import boot
from innoclone.commands.options import BootOptions
from innoclone.files.manifest import read_manifest, update_manifest
from innoclone.records.position import ClonePosition
from innoclone.records.status import CloneStatus, Stage, State
from innoclone.sandbox.load import Load
from innoclone.server.cloned import Recovery, read_recovery
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.stream.pagecheck import find_tablespaces
from servers import PASSWORD, ServerFactory


@pytest.fixture(scope="module")
def source(make_module_server: ServerFactory) -> Server:
    """A donor with a little of everything that a boot must not touch."""
    server = make_module_server()
    for statement in (
        "CREATE SCHEMA shop",
        "CREATE TABLE shop.t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)",
        "INSERT INTO shop.t (v) VALUES (1), (2), (3)",
        "CREATE EVENT shop.tick ON SCHEDULE EVERY 1 SECOND DO INSERT INTO shop.t (v) VALUES (99)",
        "CREATE USER visitor IDENTIFIED BY 'x'",
        "ALTER EVENT shop.tick DISABLE",
    ):
        rows(server, statement)
    return server


@pytest.fixture(scope="module")
def pristine(source: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone that no server has run on; to be copied, not to be used."""
    directory = tmp_path_factory.mktemp("pristine") / "clone"
    clone_server(source, directory)
    return directory


@pytest.fixture
def clone(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "clone"))


def last_of(server: Server, gtids: str, file: str) -> int:
    """Where the last transaction of a GTID set ends in the donor's binary log."""
    last = gtids.replace("-", ":").rpartition(":")[2]
    uuid = rows(server, "SELECT @@server_uuid")[0][0]
    events = rows(server, f"SHOW BINLOG EVENTS IN '{file}'")
    begin = next(n for n, event in enumerate(events) if f"'{uuid}:{last}'" in str(event[5]))
    following = [event for event in events[begin + 1 :] if event[2] in ("Gtid", "Rotate", "Stop")]
    return int(str(following[0][1] if following else events[-1][4]))


def test_position_is_where_the_last_transaction_ends(make_server: ServerFactory, tmp_path: Path) -> None:
    """Under load: file, offset and GTID set fit the donor's binary log; result, status and manifest say the same."""
    server = make_server()
    directory = tmp_path / "clone"
    status = CloneStatus()
    with Load(server.connect) as load:
        made = clone_server(server, directory)
        result = boot(BootOptions(directory), status=status)
    assert load.errors == []
    assert (made.binlog_file, made.binlog_position) == (result.binlog_file, result.binlog_position)
    assert (made.position_from, status.position_from) == ("pages", "boot")
    uuid, _, numbers = result.gtid_executed.partition(":")
    assert uuid == rows(server, "SELECT @@server_uuid")[0][0]
    assert numbers.startswith("1-")
    assert last_of(server, result.gtid_executed, result.binlog_file) == result.binlog_position
    position = read_manifest(directory)["position"]
    for values in (result.position.fields, position, status.position.fields):
        assert values["binlog_file"] == result.binlog_file
        assert values["binlog_position"] == result.binlog_position
        assert values["gtid_executed"] == result.gtid_executed
    restart, recovery = status.stages[Stage.RESTART], status.stages[Stage.RECOVERY]
    assert restart.state is recovery.state is State.COMPLETED
    assert restart.begin is not None
    assert restart.end == recovery.begin == pytest.approx(restart.begin + result.restart_seconds)
    assert recovery.seconds == result.recovery_seconds == pytest.approx(position["recovery_seconds"], abs=0.001)
    assert result.recovery_seconds > 0
    assert status.state is State.COMPLETED


def digests(directory: Path) -> dict[str, str]:
    """Of every file but the manifest."""
    files = [path for path in directory.rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_copy_tells_position_and_gtids_and_leaves_the_clone_alone(clone: Path) -> None:
    """Every byte is as before, nothing lies beside the clone; later the clone's own boot finds the same."""
    before, beside = digests(clone), set(clone.parent.iterdir())
    pages = read_manifest(clone)["position"]
    told = boot(BootOptions(clone, copy=True))
    assert digests(clone) == before
    assert set(clone.parent.iterdir()) == beside
    position = read_manifest(clone)["position"]
    assert (position["from"], position["gtid_executed"]) == ("copy", told.gtid_executed)
    assert (told.binlog_file, told.binlog_position) == (pages["binlog_file"], pages["binlog_position"])
    status = CloneStatus()
    booted_itself = boot(BootOptions(clone), status=status)
    assert booted_itself.gtid_executed == told.gtid_executed != ""
    assert (booted_itself.binlog_file, booted_itself.binlog_position) == (told.binlog_file, told.binlog_position)
    assert (read_manifest(clone)["position"]["from"], status.notes) == ("boot", [])
    with pytest.raises(errors.TargetUnusable, match="booted already"):
        boot(BootOptions(clone, copy=True))


def test_copy_is_refused_where_a_server_could_be_led_elsewhere(clone: Path) -> None:
    """Absolute names in the dictionary; and it can't be kept. What fails is told, with a log that is still there."""
    files = read_manifest(clone)["files"]
    update_manifest(clone, files=[*files, files[0] | {"name": "/elsewhere/t.ibd", "space_id": 99}])
    with pytest.raises(errors.TargetUnusable, match="absolute"):
        boot(BootOptions(clone, copy=True))
    update_manifest(clone, files=files, external_directories=["/elsewhere"])
    with pytest.raises(errors.TargetUnusable, match="absolute"):
        boot(BootOptions(clone, copy=True))
    update_manifest(clone, external_directories=[])
    with pytest.raises(errors.UsageError, match="--keep"):
        boot(BootOptions(clone, copy=True, keep=True))
    beside = set(clone.parent.iterdir())
    (clone / "mysql.ibd").write_bytes(bytes((clone / "mysql.ibd").stat().st_size))
    with pytest.raises(errors.BootFailed, match="a copy of") as caught:
        boot(BootOptions(clone, copy=True))
    log = clone / "#innoclone" / "boot.log"
    assert str(log) in caught.value.message
    assert "[ERROR]" in log.read_text()
    assert set(clone.parent.iterdir()) == beside


def test_a_position_that_a_boot_does_not_find_is_told(clone: Path) -> None:
    position = read_manifest(clone)["position"]
    update_manifest(clone, position=position | {"binlog_position": 4711})
    status = CloneStatus()
    assert boot(BootOptions(clone), status=status).binlog_position == position["binlog_position"]
    assert any("4711, was wrong" in note for note in status.notes)


def test_nothing_is_left_behind(clone: Path, source: Server, programs: Programs) -> None:
    """After a boot a server of the user's own finds what it would have found on the untouched clone."""
    before = find_tablespaces(clone)
    first = boot(BootOptions(clone))
    assert find_tablespaces(clone) == before
    names = {path.name for path in clone.iterdir()}
    assert not {"auto.cnf", "ca.pem", "server-key.pem", "private_key.pem"} & names
    assert not [name for name in names if name.startswith("binlog") or "relay" in name]
    again = boot(BootOptions(clone))
    assert (again.binlog_file, again.binlog_position, again.gtid_executed) == (
        first.binlog_file, first.binlog_position, first.gtid_executed,
    )  # fmt: skip
    assert again.recovery_seconds == 0

    with booted(programs, clone, ["--gtid-mode=ON", "--enforce-gtid-consistency=ON"]) as server:
        assert rows(server, "SELECT @@gtid_executed, @@gtid_purged") == [(first.gtid_executed,) * 2]
        assert rows(server, "SHOW BINARY LOGS")[0][0] == "binlog.000001"
        assert rows(server, "SELECT COUNT(*) FROM information_schema.innodb_trx") == [(0,)]
        for query in (
            "SELECT User, Host, plugin, authentication_string FROM mysql.user ORDER BY 1, 2",
            "SELECT * FROM mysql.plugin",
            "SELECT EVENT_NAME, STATUS FROM information_schema.EVENTS",
            "SELECT * FROM shop.t",
        ):
            assert rows(server, query) == rows(source, query)
        shown = rows(server, "SELECT STATE, BINLOG_FILE, BINLOG_POSITION FROM performance_schema.clone_status")
        assert shown == [("Completed", first.binlog_file, first.binlog_position)]
        stages = rows(server, "SELECT STAGE, STATE FROM performance_schema.clone_progress ORDER BY STAGE")
        assert {stage for stage, state in stages if state == "Completed"} >= {"RESTART", "RECOVERY"}


def test_position_survives_a_boot_by_hand(clone: Path, programs: Programs) -> None:
    """A server of the user's own was first, and somebody looked at clone_status: the position is still found."""
    with booted(programs, clone) as server:
        shown = rows(server, "SELECT BINLOG_FILE, BINLOG_POSITION, GTID_EXECUTED FROM performance_schema.clone_status")
    assert not (clone / "#clone" / "#status_recovery").exists()
    result = boot(BootOptions(clone))
    assert [(result.binlog_file, result.binlog_position, result.gtid_executed)] == shown


@pytest.fixture
def kept() -> Iterator[list[dict[str, Any]]]:
    """Results of boots whose servers are to end whatever happens."""
    results: list[dict[str, Any]] = []
    yield results
    for result in results:
        os.kill(result["pid"], signal.SIGKILL)
        shutil.rmtree(Path(result["socket"]).parent)


def test_a_kept_server_outlives_the_command(clone: Path, source: Server, kept: list[dict[str, Any]]) -> None:
    """The command has ended; the server answers on its port, with the donor's accounts and GTIDs and its own UUID."""
    code = "from innoclone.cli import main; main()"
    command = [sys.executable, "-c", code, "boot", str(clone), "--port", "0", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    kept.append(result)
    with pymysql.connect(host="127.0.0.1", port=result["port"], user="clone", password=PASSWORD) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT @@gtid_mode, @@gtid_executed, @@log_bin, @@event_scheduler, @@server_uuid, @@server_id")
        mode, executed, log_bin, scheduler, uuid, server_id = cursor.fetchone() or ()
    assert (mode, executed, log_bin, scheduler) == ("ON", result["gtid_executed"], 1, "OFF")
    assert (uuid, server_id) != rows(source, "SELECT @@server_uuid, @@server_id")[0]
    assert uuid != rows(source, "SELECT @@server_uuid")[0][0]
    with pytest.raises(errors.TargetBusy, match="a server runs on"):
        boot(BootOptions(clone))


def test_settings_of_the_donor(make_server: ServerFactory, tmp_path: Path) -> None:
    """Page size, system files and lower_case_table_names come from the manifest: a boot without any option works."""
    layout = ["--innodb-page-size=8k", "--innodb-data-file-path=sys1:12M;sys2:8M:autoextend"]
    server = make_server(init=[*layout, "--lower-case-table-names=1"])
    rows(server, "CREATE SCHEMA Upper")
    directory = tmp_path / "clone"
    clone_server(server, directory)
    result = boot(BootOptions(directory))
    assert result.gtid_executed == rows(server, "SELECT @@gtid_executed")[0][0]


def test_a_donor_without_gtids_and_with_a_mapped_tablespace(make_server: ServerFactory, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    server = make_server("--gtid-mode=OFF", f"--innodb-directories={outside}")
    rows(server, f"CREATE TABLESPACE away ADD DATAFILE '{outside / 'away.ibd'}'")
    rows(server, "CREATE SCHEMA s")
    rows(server, "CREATE TABLE s.t (id INT PRIMARY KEY) TABLESPACE away")
    rows(server, "INSERT INTO s.t VALUES (7)")
    directory, here = tmp_path / "clone", tmp_path / "here"
    clone_server(server, directory, map_paths=((str(outside), str(here)),))
    stands = rows(server, "SHOW BINARY LOG STATUS")[0][:2]
    server.stop()
    before = (outside / "away.ibd").read_bytes()
    result = boot(BootOptions(directory))
    assert result.gtid_executed == ""
    assert (result.binlog_file, result.binlog_position) == stands
    assert (outside / "away.ibd").read_bytes() == before


def test_refused(clone: Path, tmp_path: Path) -> None:
    """What is no finished clone is not booted, and not touched."""
    with pytest.raises(errors.TargetUnusable, match="not a directory"):
        boot(BootOptions(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.TargetUnusable, match=r"no mysql\.ibd"):
        boot(BootOptions(tmp_path / "empty"))
    assert not list((tmp_path / "empty").iterdir())
    update_manifest(clone, donor=read_manifest(clone)["donor"] | {"version": "8.4.3"})
    status = CloneStatus()
    with pytest.raises(errors.VersionUnsupported, match=r"of MySQL 8\.4\.3"):
        boot(BootOptions(clone), status=status)
    assert status.state is State.FAILED
    assert (clone / "#clone" / "#replace_files").exists(), "no server has been here"
    (clone / "#clone" / "#status_in_progress").touch()
    with pytest.raises(errors.TargetUnusable, match="unfinished"):
        boot(BootOptions(clone))


def test_failure_names_the_log_and_its_errors(clone: Path) -> None:
    (clone / "mysql.ibd").write_bytes(b"\0" * (clone / "mysql.ibd").stat().st_size)
    with pytest.raises(errors.BootFailed) as caught:
        boot(BootOptions(clone))
    log = clone / "#innoclone" / "boot.log"
    assert str(log) in caught.value.message
    assert "[ERROR]" in log.read_text()
    assert "MY-01" in caught.value.message
    assert read_manifest(clone)["position"]["from"] == "pages"


def test_stopped_during_recovery(clone: Path) -> None:
    """It ends at once, and the next boot recovers the clone as if nothing had been."""
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(errors.Interrupted):
        boot(BootOptions(clone), stopped=stopped)
    before = read_manifest(clone)["position"]
    assert before["from"] == "pages"
    assert boot(BootOptions(clone)).binlog_position == before["binlog_position"]


def test_data_directory_without_manifest(clone: Path) -> None:
    shutil.rmtree(clone / "#innoclone")
    status = CloneStatus()
    result = boot(BootOptions(clone), status=status)
    assert any("no manifest" in note for note in status.notes)
    assert result.binlog_position == status.binlog_position > 0
    assert not (clone / "#innoclone" / "manifest.json").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_owner_who_cannot_execute_mysqld(clone: Path, tmp_path: Path) -> None:
    """We are root and the files are another's: the server is to run as that user, or not at all."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    script = closed / "mysqld"
    script.write_text("#!/bin/sh\necho 'mysqld  Ver 9.7.4 for Linux'\n")
    script.chmod(0o755)
    update_manifest(clone, donor=read_manifest(clone)["donor"] | {"version": "9.7.4"})
    for path in (clone, *clone.rglob("*")):
        os.chown(path, 65534, 65534)
    with pytest.raises(errors.BootFailed, match="can't execute"):
        boot(BootOptions(clone, mysqld=script))


def test_records_of_the_recovery(tmp_path: Path) -> None:
    """Both forms of it; a GTID set may take several lines; an unfinished recovery is none."""
    folder = tmp_path / "#clone"
    folder.mkdir()
    position = ClonePosition(
        binlog_file="log.000007", binlog_position=1234, gtid_executed="aaa:1-5,bbb:1-7", position_from="boot"
    )
    assert read_recovery(tmp_path) is None
    record = folder / "#status_recovery"
    record.write_text("1000000\n3500000\n")
    with pytest.raises(errors.FileError, match="can't read the record"):
        read_recovery(tmp_path)
    record.write_text("1000000\n0\n")  # as a server leaves it that gave up
    assert read_recovery(tmp_path) is None
    record.write_text("1000000\n0\n\n0\n\n")
    assert read_recovery(tmp_path) is None
    record.write_text("1000000\n3500000\n./log.000007\n1234\naaa:1-5,\nbbb:1-7\n")
    assert read_recovery(tmp_path) == Recovery(1.0, 3.5, position)
    record.unlink()
    view = folder / "#view_status"
    view.write_text("2 1\n1000000 4000000\nhost:3306\n0\n\n\n0\n\n")
    assert read_recovery(tmp_path) is None
    view.write_text("2 1\n1000000 4000000\nhost:3306\n0\n\n./log.000007\n1234\naaa:1-5,\nbbb:1-7\n")
    assert read_recovery(tmp_path) == Recovery(4.0, 4.0, position)
