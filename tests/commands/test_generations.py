"""Dated generations of a local clone, and the differences between two clones."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clones import booted, rows
from hostile_sql import HostileSql, Stranger
from innoclone.commands.diff import diff
from innoclone.commands.generations import add_generation, preview
from innoclone.commands.local import local
from innoclone.commands.options import LocalOptions
from innoclone.errors import NetworkError, TargetExists, TargetUnusable
from innoclone.files.generations import (
    begin_generation,
    check_latest,
    point_latest,
    remove_unfinished,
    series_of,
    shares_blocks,
)
from innoclone.files.marks import begin_directory
from innoclone.sandbox.fill import fill
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.wire.handshake import Ok
from servers import ServerFactory, endpoint_of

MIB = 1 << 20


def options(server: Server, folder: Path, keep: int, *, full_copies: bool) -> LocalOptions:
    return LocalOptions(donor=endpoint_of(server), directory=folder, generations=keep, full_copies=full_copies)


@pytest.mark.parametrize("look", [add_generation, preview])
def test_a_donor_that_says_nothing_more_is_not_waited_for(look: Callable[..., object], tmp_path: Path) -> None:
    """It lets in, and is silent when it is asked for the files: without a limit nobody would come back."""

    def silent(peer: Stranger, statement: str) -> None:
        if "server_uuid" not in statement:
            peer.send(Ok().serialize())

    with HostileSql(answer=silent) as peer, pytest.raises(NetworkError):
        look(LocalOptions(peer.endpoint(), tmp_path / "dated", generations=2, stall_timeout=1.0))


def test_three_generations_of_which_two_are_kept(
    make_server: ServerFactory, programs: Programs, tmp_path: Path
) -> None:
    """Each one boots with the data of its own time; an interrupted one goes; ``latest`` names the newest."""
    server = make_server()
    fill(server.connect, 8 * MIB)
    rows(server, "CREATE DATABASE counting")
    rows(server, "CREATE TABLE counting.n (v INT PRIMARY KEY)")
    folder = tmp_path / "generations"
    folder.mkdir()
    shares = shares_blocks(folder)
    if not shares:
        with pytest.raises(TargetUnusable, match="can't share blocks"):
            add_generation(options(server, folder, 2, full_copies=False))
    donor = str(rows(server, "SELECT @@server_uuid")[0][0])
    interrupted = folder / "2020-01-01T00-00-00Z"
    begin_generation(interrupted, donor, "")
    for number in range(3):
        rows(server, f"INSERT INTO counting.n VALUES ({number})")
        add_generation(options(server, folder, 2, full_copies=not shares))
        time.sleep(1.1)  # names are made of seconds
    kept = [one.path for one in series_of(folder, donor)]
    assert len(kept) == 2
    assert not interrupted.exists()
    assert (folder / "latest").resolve() == kept[-1]
    for expected, path in zip((2, 3), kept, strict=True):
        with booted(programs, path) as clone:
            assert rows(clone, "SELECT COUNT(*) FROM counting.n") == [(expected,)]


def test_diff_names_tables_and_pages(make_server: ServerFactory, tmp_path: Path) -> None:
    """New, removed, renamed and changed tables by name; a clone and its copy do not differ."""
    server = make_server()
    rows(server, "CREATE DATABASE d")
    for name in ("stays", "goes", "`is renamed`", "changes"):
        rows(server, f"CREATE TABLE d.{name} (id INT PRIMARY KEY, b VARBINARY(3000))")
        rows(server, f"INSERT INTO d.{name} VALUES (1, RANDOM_BYTES(1000))")
    old, new = tmp_path / "old", tmp_path / "new"
    local(LocalOptions(donor=endpoint_of(server), directory=old))
    rows(server, "DROP TABLE d.goes")
    rows(server, "RENAME TABLE d.`is renamed` TO d.`has-a name`")
    rows(server, "UPDATE d.changes SET b = RANDOM_BYTES(1000)")
    rows(server, "FLUSH TABLES d.changes FOR EXPORT")  # else the change may be in the redo only
    rows(server, "CREATE TABLE d.fresh (id INT PRIMARY KEY)")
    local(LocalOptions(donor=endpoint_of(server), directory=new))
    found = {row.name: row for row in diff(old, new)}
    assert found["d.stays"].kind == "equal"
    assert found["d.goes"].kind == "removed"
    assert found["d.fresh"].kind == "new"
    assert found["d.has-a name"].kind == "renamed"
    assert found["d.changes"].kind == "changed"
    assert 1 <= found["d.changes"].differing < found["d.changes"].pages
    assert all(row.differing == 0 for row in diff(new, new))
    done = subprocess.run(
        [sys.executable, "-m", "innoclone", "diff", "--json", str(old), str(new)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "was never started" in done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert "d.changes" in {row["name"] for row in result["tablespaces"]}
    (tmp_path / "empty").mkdir()
    with pytest.raises(TargetUnusable):
        diff(old, tmp_path / "empty")


def test_latest_is_never_taken_from_somebody(tmp_path: Path) -> None:
    """A real directory of that name stays."""
    (tmp_path / "latest").mkdir()
    with pytest.raises(TargetExists):
        point_latest(tmp_path, tmp_path / "2026-01-01T00-00-00Z")


def made(path: Path, donor: str, **fields: object) -> Path:
    """What looks like a finished clone."""
    (path / "#innoclone").mkdir(parents=True)
    manifest = {"format": 1, "donor": {"uuid": donor}, "files": [], "options": {"local": True}} | fields
    (path / "#innoclone" / "manifest.json").write_text(json.dumps(manifest))
    return path


def test_only_the_series_counts(tmp_path: Path) -> None:
    """Of all that may lie in a folder under the name of a date, and whatever a copy from another folder says."""
    ours = [made(tmp_path / f"2026-01-0{day}T00-00-00Z", "d", series="s") for day in (3, 4)]
    before_the_field = made(tmp_path / "2026-01-01T00-00-00Z", "d")
    point_latest(tmp_path, ours[-1])
    made(tmp_path / "2026-01-05T00-00-00Z", "other", series="s")
    made(tmp_path / "2026-01-06T00-00-00Z", "d", series=None)  # innoclone local, by hand
    made(tmp_path / "2026-01-07T00-00-00Z", "d", series="of another folder")
    made(tmp_path / "2026-01-08T00-00-00Z", "d", options={"threads": 4})  # innoclone clone
    made(tmp_path / "a name of mine", "d", series="s")
    (tmp_path / "2026-01-09T00-00-00Z").mkdir()
    (tmp_path / "2026-01-09T00-00-00Z" / "dump.sql").touch()
    made(tmp_path / "2026-01-10T00-00-00Z", "d", format=99, series="s")
    assert [one.path for one in series_of(tmp_path, "d")] == [before_the_field, *ours]
    assert series_of(tmp_path, "nobody") == []


def test_what_others_left_unfinished_stays(tmp_path: Path) -> None:
    """Only what the series itself left goes, and not while its maker is about to lock it."""
    names = [tmp_path / f"2026-01-0{day}T00-00-00Z" for day in range(1, 5)]
    series = begin_generation(names[0], "d", "")
    begin_generation(names[1], "other", "")
    begin_generation(names[2], "d", "another folder's")
    begin_directory(names[3])  # innoclone clone, by hand: it can be gone on with
    assert remove_unfinished(tmp_path, "d", series) == ([names[0]], [])
    assert [path.exists() for path in names] == [False, True, True, True]
    code = (
        "import sys; from pathlib import Path; from innoclone.files.generations import begin_generation;"
        "begin_generation(Path(sys.argv[1]), 'd', 's'); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(names[0])], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as maker:
        assert maker.stdout is not None
        maker.stdout.readline()
        assert remove_unfinished(tmp_path, "d", "s") == ([], [])
        maker.kill()
    assert remove_unfinished(tmp_path, "d", "s") == ([names[0]], [])


def test_latest_of_somebody_else(tmp_path: Path) -> None:
    """A symbolic link of that name that leads anywhere but to a generation stays, too."""
    (tmp_path / "latest").symlink_to("dump-of-monday")
    with pytest.raises(TargetExists):
        check_latest(tmp_path)
