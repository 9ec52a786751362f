"""Stock servers take what we serve: every byte arrives, whatever way it travels, and a server starts on it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pymysql
import pytest

from clones import rows
from innoclone.donor.sending import Sender
from innoclone.donor.service import Donor, Observer
from innoclone.donor.stored import look
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.wire.descriptors import StageNumber
from local_clones import booted_copy, checksums
from receiving import receive_into
from serving import ALONE, ServeProcess, assert_taken, endpoint, served, take

MIB = 1 << 20
POSITION = "SELECT BINLOG_FILE, BINLOG_POSITION, GTID_EXECUTED FROM performance_schema.clone_status"


def tasks(count: int, **more: int) -> dict[str, int]:
    return {"clone_autotune_concurrency": 0, "clone_max_concurrency": count, **more}


def test_a_stored_clone_boots_equal(
    programs: Programs, small_clone: Path, small_donor: Server, recipient: Server, tmp_path: Path
) -> None:
    expected = checksums(small_donor)
    target = tmp_path / "taken"
    with ServeProcess(small_clone, "--once") as process:
        take(recipient, process.port, target, settings=ALONE)
        assert process.wait() == 0
        assert "completed OK!" in process.said[-1]
        assert f"clone_valid_donor_list = '127.0.0.1:{process.port}'" in process.statements
    look(target).close()  # what a stock server took, before it was started, can be served on
    with booted_copy(programs, target) as server:
        assert checksums(server) == expected
        file, position, gtids = rows(server, POSITION)[0]
    log = rows(small_donor, "SHOW BINARY LOG STATUS")[0]
    assert (file, position, gtids) == (log[0], log[1], log[4])


def test_the_statements_that_it_prints(small_clone: Path, recipient: Server, tmp_path: Path) -> None:
    """They can be typed as they are but for the directory, with the password that was made."""
    with ServeProcess(small_clone, "--once", named=False) as process:
        listed, clone = process.printed(4).split(";")[:2]
        with recipient.connect() as connection, connection.cursor() as cursor:
            cursor.execute(listed)
            cursor.execute(clone.replace("/path/of/a/new/directory", str(tmp_path / "taken")))
        assert process.wait() == 0


def test_nobody_reads_what_it_says(small_clone: Path, recipient: Server, tmp_path: Path) -> None:
    """A terminal that was stopped, a pipe that nobody empties: recipients don't wait for them."""
    with ServeProcess(small_clone, "--verbose", heard=False) as process:
        for name in ("one", "two"):
            take(recipient, process.port, tmp_path / name, settings=tasks(2))
        process.listen()
        assert process.stop() == 0
        said = "".join(process.said)
        assert said.count("has its clone") == 2
        assert "completed OK!" in process.said[-1]


def test_data_at_rest_boots_equal_and_tells_where_the_binary_log_ended(
    programs: Programs, at_rest: tuple[Path, dict[str, object]], recipient: Server, tmp_path: Path
) -> None:
    directory, expected = at_rest
    target = tmp_path / "taken"
    with served(directory, tmp_path) as donor:
        take(recipient, donor.port, target, settings=tasks(4))
        assert_taken(donor.source, target)
    with booted_copy(programs, target) as server:
        assert checksums(server) == expected
        file, position, gtids = rows(server, POSITION)[0]
    log = directory / str(file)
    assert position == log.stat().st_size
    assert gtids == expected["gtid_executed"]


@pytest.mark.parametrize(
    ("settings", "clause"),
    [
        pytest.param(tasks(1), "", id="plain"),
        pytest.param(tasks(1), "REQUIRE SSL", id="tls"),
        pytest.param(tasks(1), "REQUIRE NO SSL", id="no-tls"),
        pytest.param(tasks(4, clone_enable_compression=1), "REQUIRE SSL", id="4-compressed-tls"),
        pytest.param(tasks(16, clone_enable_compression=1), "REQUIRE NO SSL", id="16-compressed"),
        pytest.param(tasks(128), "REQUIRE NO SSL", id="128"),
        pytest.param({}, "", id="autotune"),
    ],
)
def test_by_every_way(
    settings: dict[str, Any], clause: str, at_rest: tuple[Path, dict[str, object]], recipient: Server, tmp_path: Path
) -> None:
    with served(at_rest[0], tmp_path) as donor:
        take(recipient, donor.port, tmp_path / "taken", clause, settings=settings)
        assert_taken(donor.source, tmp_path / "taken")


@pytest.mark.parametrize("clause", ["REQUIRE SSL", "REQUIRE NO SSL"])
def test_the_donor_needs_little_memory(
    clause: str, at_rest: tuple[Path, dict[str, object]], recipient: Server, tmp_path: Path
) -> None:
    """Far less than what it sends: a MiB for each task, and little else."""
    with ServeProcess(at_rest[0]) as process:
        before = process.most_memory
        take(recipient, process.port, tmp_path / "taken", clause, settings=tasks(16))
        grown = process.most_memory - before
    sent = sum(path.stat().st_blocks * 512 for path in (tmp_path / "taken").rglob("*") if path.is_file())
    assert sent > 64 * MIB
    assert grown < (16 + 8) * MIB


def test_several_recipients_at_once(at_rest: tuple[Path, dict[str, object]], recipient: Server, tmp_path: Path) -> None:
    """One of them a stock server, two of them innoclone: zstd is offered, too."""
    from innoclone.transport.endpoint import Compression

    targets = [tmp_path / f"taken-{number}" for number in range(3)]
    with served(at_rest[0], tmp_path) as donor:
        threads = [
            threading.Thread(target=take, args=(recipient, donor.port, targets[0]), kwargs={"settings": tasks(2)}),
            threading.Thread(target=receive_into, args=(targets[1], endpoint(donor.port))),
            threading.Thread(
                target=receive_into, args=(targets[2], endpoint(donor.port)),
                kwargs={"compression": Compression("zstd", 1), "threads": 3},
            ),
        ]  # fmt: skip
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for target in targets:
            assert_taken(donor.source, target)


def test_a_wrong_password_is_refused(small_clone: Path, recipient: Server, tmp_path: Path) -> None:
    with served(small_clone, tmp_path) as donor, recipient.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET GLOBAL clone_valid_donor_list = %s", (f"127.0.0.1:{donor.port}",))
        with pytest.raises(pymysql.Error, match="1045 : Access denied for user 'taker'") as caught:
            cursor.execute(
                f"CLONE INSTANCE FROM 'taker'@'127.0.0.1':{donor.port} IDENTIFIED BY 'wrong' DATA DIRECTORY = %s",
                (str(tmp_path / "taken"),),
            )
    assert caught.value.args[0] == 3862


def test_no_tls_is_refused_where_it_is_required(small_clone: Path, recipient: Server, tmp_path: Path) -> None:
    with (
        served(small_clone, tmp_path, require_secure_transport=True) as donor,
        pytest.raises(pymysql.Error, match="insecure transport are prohibited"),
    ):
        take(recipient, donor.port, tmp_path / "taken", "REQUIRE NO SSL", settings=ALONE)


def test_a_changed_file_ends_the_clone(small_clone: Path, recipient: Server, tmp_path: Path) -> None:
    from restores import linked_clone, rewrite

    directory = linked_clone(small_clone, tmp_path / "linked")
    with served(directory, tmp_path) as donor:
        rewrite(directory / "theirs" / "t.ibd", lambda data: data.extend(bytes(16384)))
        with pytest.raises(pymysql.Error, match=r"t\.ibd was changed while it was served"):
            take(recipient, donor.port, tmp_path / "taken", settings=ALONE)


def test_a_file_that_is_changed_at_the_end_fails_the_clone(
    small_clone: Path, recipient: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the donor, too: nobody has what it says was taken."""
    from restores import linked_clone, rewrite

    directory, told = linked_clone(small_clone, tmp_path / "linked"), []
    end = Sender._end

    def changed(sender: Sender, stage: StageNumber) -> None:
        if stage is StageNumber.REDO_COPY:
            rewrite(directory / "theirs" / "t.ibd", lambda data: data.extend(bytes(16384)))
        end(sender, stage)

    monkeypatch.setattr(Sender, "_end", changed)
    monkeypatch.setattr(Observer, "ended", lambda _, taking: told.append(taking))
    changing = pytest.raises(pymysql.Error, match=r"t\.ibd was changed while it was served")
    with served(directory, tmp_path) as donor, changing:
        take(recipient, donor.port, tmp_path / "taken", settings=ALONE)
    assert [taking.state for taking in told] == ["Failed"]
    assert "was changed" in told[0].error_message


def test_the_donor_ends_in_order(small_clone: Path, recipient: Server, tmp_path: Path) -> None:
    """Its recipients are told, and don't try to come back."""
    from innoclone.records.limits import Limits

    with served(small_clone, tmp_path, limits=Limits(data=1)) as donor:
        failed: list[Exception] = []

        def run() -> None:
            try:
                take(recipient, donor.port, tmp_path / "taken", settings=ALONE)
            except pymysql.Error as error:
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        wait_for_data(donor)
        donor.stop()
        thread.join()
    assert "the donor was stopped" in str(failed[0])


def wait_for_data(donor: Donor) -> None:
    while not any(course.sent for course in donor.courses):
        threading.Event().wait(0.01)
