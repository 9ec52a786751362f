"""The data of a server that was shut down, with tablespaces outside in places that the user names: served as the
server's own plugin would, and refused where they may be another's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pymysql
import pytest

from clones import booted, outside_donor, rows
from innoclone.commands.clone import clone
from innoclone.commands.options import CloneOptions
from innoclone.donor.stored import look
from innoclone.errors import CloneError, TablespaceMissing, TargetBusy, TargetUnusable
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from restores import rewrite
from servers import ServerFactory
from serving import ALONE, ServeProcess, endpoint, served, take

PAGE = 16 << 10


@dataclass(frozen=True)
class Shut:
    """A server's data after a clean shutdown, kept away from where it was: as on the host of a backup. Not to be
    written to."""

    data: Path
    files: Path  # what the server had outside
    home: Path  # where it had them; nothing is there
    factory: ServerFactory

    @property
    def known(self) -> str:
        """What a server on the data has to be told."""
        return f"--innodb-directories={self.home}"


@pytest.fixture(scope="module")
def shut(programs: Programs, templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shut]:
    folder = tmp_path_factory.mktemp("shut")
    factory = ServerFactory(programs, folder, templates)
    try:
        server, home = outside_donor(factory, folder)
        server.stop()
        data, files = folder / "kept", folder / "files"
        for source, target in ((server.datadir, data), (home, files)):
            shutil.copytree(source, target)  # with the times
        shutil.rmtree(home)
        yield Shut(data, files, home, factory)
    finally:
        factory.close()
        shutil.rmtree(folder)


@pytest.fixture
def copy(shut: Shut, tmp_path: Path) -> Iterator[Shut]:
    """Hard links to all of it: files may be replaced and removed, not written to."""
    for source in (shut.data, shut.files):
        subprocess.run(["cp", "-al", str(source), str(tmp_path)], check=True, timeout=60)
    yield Shut(tmp_path / shut.data.name, tmp_path / shut.files.name, shut.home, shut.factory)
    shutil.rmtree(shut.home, ignore_errors=True)


def assert_equal(server: Server) -> None:
    assert rows(server, "SELECT * FROM away.t ORDER BY 1") == [(1, 10), (2, 20)]
    assert rows(server, "SELECT * FROM away.p ORDER BY 1") == [(1,), (11,)]
    assert rows(server, "SELECT * FROM away.g ORDER BY 1") == [(3, 30)]
    assert rows(server, "CHECK TABLE away.t, away.p, away.g")[0][3] == "OK"


def refused(shut: Shut, why: str, kind: type[CloneError] = TargetUnusable) -> None:
    with pytest.raises(kind, match=why):
        look(shut.data, places=[shut.files]).close()


@pytest.mark.parametrize("way", ["directory", "replace"])
def test_a_stock_server_gets_the_servers_names(way: str, copy: Shut, programs: Programs, tmp_path: Path) -> None:
    copy.home.mkdir(parents=True)
    recipient = copy.factory(copy.known)
    target = tmp_path / "taken" if way == "directory" else None
    with ServeProcess(copy.data, f"--innodb-directories={copy.files}/tables;{copy.files}") as donor:
        if target is not None:
            take(recipient, donor.port, target, settings={})
        else:
            with pytest.raises(pymysql.Error, match="3707"):
                take(recipient, donor.port, None, settings={})
        assert donor.stop() == 0
    recipient.kill()
    assert sorted(path.name for path in copy.home.rglob("*.ib*")) == ["g.ibd", "p#p#a.ibd", "t.ibd"]
    with booted(programs, target or recipient.datadir, [copy.known]) as server:
        assert_equal(server)


def test_where_the_server_had_them(copy: Shut, recipient: Server, programs: Programs, tmp_path: Path) -> None:
    """On its own host innoclone takes them elsewhere; a stock server there is refused, and nothing is touched."""
    copy.home.parent.mkdir(exist_ok=True)
    shutil.copytree(copy.files, copy.home)
    with served(copy.data, tmp_path, places=[copy.home]) as donor:
        with pytest.raises(pymysql.Error, match=rf"Donor Error: 1086 : File '{copy.home}/.*' already exists"):
            take(recipient, donor.port, tmp_path / "stock", settings=ALONE)
        mapping = ((str(copy.home), str(tmp_path / "mapped")),)
        clone(CloneOptions(endpoint(donor.port), tmp_path / "ours", map_paths=mapping))
    before = {path: path.read_bytes() for path in copy.home.rglob("*.ib*")}
    with booted(programs, tmp_path / "ours", [f"--innodb-directories={tmp_path}/mapped"]) as server:
        assert_equal(server)
    assert {path: path.read_bytes() for path in copy.home.rglob("*.ib*")} == before


def test_nothing_is_looked_for_that_was_not_named(copy: Shut) -> None:
    shutil.copytree(copy.files, copy.home)
    why = rf"has tablespaces elsewhere: .*{copy.home}/.*/"
    with pytest.raises(TablespaceMissing, match=why):
        look(copy.data).close()
    with pytest.raises(TablespaceMissing, match=why):
        look(copy.data, places=[copy.home / "general"]).close()
    with pytest.raises(TargetUnusable, match="nowhere is not a directory"):
        look(copy.data, places=[copy.files, copy.files / "nowhere"]).close()
    look(copy.data, places=[copy.home]).close()


def test_what_is_not_as_the_shutdown_left_it(copy: Shut) -> None:
    """Written to, copied without its times, twice there, of another name, cut short, a link, missing."""
    file = copy.files / "general/g.ibd"
    kept = file.with_suffix(".kept")
    shutil.copy2(file, kept)

    def again() -> None:
        shutil.copy2(kept, file)

    file.unlink()
    shutil.copy(kept, file)
    refused(copy, r"g\.ibd was written to after the shutdown")
    again()
    (copy.files / "before").mkdir()
    shutil.copy2(kept, copy.files / "before/g.ibd")
    refused(copy, r"before/g\.ibd and .*general/g\.ibd have the same space id")
    shutil.rmtree(copy.files / "before")
    file.rename(copy.files / "another.ibd")  # a space id is not enough
    refused(copy, r"has tablespaces elsewhere: .*g\.ibd", TablespaceMissing)
    (copy.files / "another.ibd").unlink()
    again()
    (copy.files / "tables/away").rename(copy.files / "tables/other")
    refused(copy, r"has tablespaces elsewhere: .*t\.ibd", TablespaceMissing)
    (copy.files / "tables/other").rename(copy.files / "tables/away")
    changed = file.stat().st_mtime_ns
    rewrite(file, lambda data: data.__setitem__(slice(16, 24), b"\x7f" * 8))  # a page of a later time
    os.utime(file, ns=(changed, changed))
    refused(copy, r"g\.ibd was written to after the shutdown")
    again()
    rewrite(file, lambda data: data.__delitem__(slice(PAGE, None)))
    os.utime(file, ns=(changed, changed))
    refused(copy, r"g\.ibd is no whole tablespace: it has \d+ pages")
    file.unlink()
    file.symlink_to(kept)
    refused(copy, r"has tablespaces elsewhere: .*g\.ibd", TablespaceMissing)
    file.unlink()
    os.mkfifo(file)
    refused(copy, r"has tablespaces elsewhere: .*g\.ibd", TablespaceMissing)


def test_the_files_of_a_server_that_went_on(copy: Shut, programs: Programs, tmp_path: Path) -> None:
    """The directory is a copy, and what it names belongs to the server that it was copied from."""
    shutil.copytree(copy.files, copy.home)
    original = tmp_path / "original"
    shutil.copytree(copy.data, original)
    with booted(programs, original, [copy.known, f"--innodb-undo-directory={copy.home}/undo"]) as server:
        rows(server, "INSERT INTO away.t VALUES (3, 30)")
        with pytest.raises((TargetBusy, TargetUnusable), match=r"a server runs on|was written to after"):
            look(copy.data, places=[copy.home]).close()
    with pytest.raises(TargetUnusable, match="was written to after the shutdown"):
        look(copy.data, places=[copy.home]).close()


def test_a_file_that_changes_while_it_is_served(copy: Shut) -> None:
    found = look(copy.data, places=[copy.files])
    try:
        found.refuse_changed()
        names = [file.name for file in found.files.data]
        assert {f"{copy.home}/general/g.ibd", "undo_001", "undo_002"} <= set(names)
        assert all(isinstance(one, Path) and one.is_absolute() for one in found.outside)
        file = copy.files / "general/g.ibd"
        rewrite(file, lambda data: None)
        with pytest.raises(CloneError, match=r"g\.ibd was changed while it was served"):
            found.refuse_changed()
    finally:
        found.close()
