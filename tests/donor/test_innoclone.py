"""innoclone takes what innoclone serves, with its preflight and by the command line."""

from __future__ import annotations

from pathlib import Path

from clones import rows
from innoclone.commands.clone import clone
from innoclone.commands.options import CloneOptions
from innoclone.donor.stored import look
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.transport.endpoint import SslMode
from local_clones import booted_copy, checksums
from restores import linked_clone, rewrite
from serving import ALONE, assert_taken, endpoint, served, take

MIB = 1 << 20


def test_a_clone_of_a_stored_clone(programs: Programs, small_clone: Path, small_donor: Server, tmp_path: Path) -> None:
    target = tmp_path / "taken"
    with served(small_clone, tmp_path) as donor:
        result = clone(CloneOptions(donor=endpoint(donor.port, ssl_mode=SslMode.REQUIRED), directory=target, threads=3))
        assert_taken(donor.source, target)
    log = rows(small_donor, "SHOW BINARY LOG STATUS")[0]
    assert (result.binlog_file, result.binlog_position) == (log[0], log[1])
    assert result.donor_version == "9.7.4-2"
    look(target).close()  # it could be served on
    with booted_copy(programs, target) as server:
        assert checksums(server) == checksums(small_donor)


def test_holes(small_clone: Path, recipient: Server, tmp_path: Path) -> None:
    """The stock plugin makes new files and is not sent them; over an earlier clone's file they have to be written."""
    source, earlier = linked_clone(small_clone, tmp_path / "source"), linked_clone(small_clone, tmp_path / "earlier")
    rewrite(source / "theirs" / "t.ibd", lambda data: None)
    with (source / "theirs" / "t.ibd").open("r+b") as file:
        file.truncate(file.seek(0, 2) + 4 * MIB)
    rewrite(earlier / "theirs" / "t.ibd", lambda data: data.extend(b"x" * 4 * MIB))
    with served(source, tmp_path) as donor:
        take(recipient, donor.port, tmp_path / "taken", settings=ALONE)
        assert_taken(donor.source, tmp_path / "taken")
        assert donor.courses[0].sent <= donor.source.size - 3 * MIB
        clone(CloneOptions(donor=endpoint(donor.port), directory=earlier, write_changed_only=True))
        assert_taken(donor.source, earlier)
