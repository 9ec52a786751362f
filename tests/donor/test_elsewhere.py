"""Stored clones with tablespaces outside their directory: recipients get the donor's names for them, and no file of
others on this host is opened or replaced."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pymysql
import pytest

from clones import booted, clone_server, outside_donor, rows
from innoclone.commands.boot import boot
from innoclone.commands.clone import clone
from innoclone.commands.options import BootOptions, CloneOptions
from innoclone.donor.live import find_live
from innoclone.donor.stored import look
from innoclone.errors import TargetUnusable
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.transport.served import ServedConnection
from servers import ServerFactory, endpoint_of
from serving import ALONE, endpoint, served, serving, take


@dataclass
class Elsewhere:
    """A clone whose donor is gone, with all its files: as on another host."""

    clone: Path
    mapped: Path  # where its own files outside are
    places: Path  # where the donor had them

    @property
    def known(self) -> str:
        """What a server on what was taken has to be told."""
        return f"--innodb-directories={self.places}"

    def content(self) -> dict[Path, bytes]:
        """Of its files outside."""
        return {path: path.read_bytes() for path in sorted(self.mapped.rglob("*.ibd"))}


@pytest.fixture(scope="module")
def origin(
    programs: Programs, templates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Path]]:
    """The donor, which runs until `elsewhere` is wanted, and where its files outside are."""
    folder = tmp_path_factory.mktemp("elsewhere")
    factory = ServerFactory(programs, folder, templates)
    try:
        yield outside_donor(factory, folder)
    finally:
        factory.close()
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def elsewhere(origin: tuple[Server, Path]) -> Elsewhere:
    server, places = origin
    made, mapped = places.parent / "clone", places.parent / "mapped"
    clone_server(server, made, map_paths=((str(places), str(mapped)),))
    server.kill()
    shutil.rmtree(places)
    return Elsewhere(made, mapped, places)


@pytest.fixture(scope="module")
def taker(
    elsewhere: Elsewhere, programs: Programs, templates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A stock server that knows the donor's places: else it refuses names there (1525)."""
    factory = ServerFactory(programs, tmp_path_factory.mktemp("taker"), templates)
    try:
        elsewhere.places.mkdir()
        yield factory(elsewhere.known)
    finally:
        factory.close()


@pytest.fixture
def unchanged(elsewhere: Elsewhere) -> Iterator[Elsewhere]:
    """As it was when the test is over, and the donor's places empty."""
    before = elsewhere.content()
    assert len(before) == 3
    yield elsewhere
    shutil.rmtree(elsewhere.places, ignore_errors=True)
    assert elsewhere.content() == before, "the stored clone was changed"


def assert_equal(server: Server) -> None:
    assert rows(server, "SELECT * FROM away.t ORDER BY 1") == [(1, 10), (2, 20)]
    assert rows(server, "SELECT * FROM away.p ORDER BY 1") == [(1,), (11,)]
    assert rows(server, "SELECT * FROM away.g ORDER BY 1") == [(3, 30)]


def test_a_running_servers_files_are_left_alone_on_its_host(
    origin: tuple[Server, Path], recipient: Server, tmp_path: Path
) -> None:
    server, places = origin
    file = places / "tables/away/t.ibd"
    before = file.stat()
    source, why = find_live(endpoint_of(server)), r"Donor Error: 1086 : File '.*' already exists"
    with serving(source, tmp_path) as donor, pytest.raises(pymysql.Error, match=why):
        take(recipient, donor.port, tmp_path / "taken", settings=ALONE)
    assert (file.stat().st_ino, file.stat().st_size) == (before.st_ino, before.st_size)
    assert not (tmp_path / "taken/mysql.ibd").exists()


def test_a_stock_recipient_gets_the_donors_names(
    unchanged: Elsewhere, programs: Programs, taker: Server, tmp_path: Path
) -> None:
    with served(unchanged.clone, tmp_path) as donor:
        assert (
            f"innodb_directories = {unchanged.places}/general;{unchanged.places}/tables/away;" in donor.source.notes[0]
        )
        take(taker, donor.port, tmp_path / "taken", settings=ALONE)
    assert (unchanged.places / "tables/away/t.ibd").is_file()
    assert (unchanged.places / "general/g.ibd").is_file()
    with booted(programs, tmp_path / "taken", [unchanged.known]) as server:
        assert_equal(server)


def test_a_stock_server_replaces_its_data(
    unchanged: Elsewhere, programs: Programs, make_server: ServerFactory, tmp_path: Path
) -> None:
    server = make_server(unchanged.known)
    with served(unchanged.clone, tmp_path) as donor, pytest.raises(pymysql.Error, match="3707"):
        take(server, donor.port, None, settings={})
    server.kill()
    with booted(programs, server.datadir, [unchanged.known]) as replaced:
        assert_equal(replaced)


@pytest.mark.parametrize("way", ["directory", "replace"])
def test_files_of_others_on_this_host_are_left_alone(
    way: str, unchanged: Elsewhere, taker: Server, tmp_path: Path
) -> None:
    """A stock server that replaces its data would put such a file aside, and it has dropped nothing when it is told."""
    theirs = unchanged.places / "general/g.ibd"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("somebody's")
    rows(taker, "CREATE DATABASE IF NOT EXISTS kept")
    place = tmp_path / "taken" if way == "directory" else None
    why = rf"Donor Error: 1086 : File '{theirs}' already exists"
    with served(unchanged.clone, tmp_path) as donor, pytest.raises(pymysql.Error, match=why):
        take(taker, donor.port, place, settings=ALONE)
    assert theirs.read_text() == "somebody's"
    assert sorted(theirs.parent.iterdir()) == [theirs]
    assert rows(taker, "SHOW DATABASES LIKE 'kept'") == [("kept",)]


def refused(directory: Path, why: str) -> None:
    with pytest.raises(TargetUnusable, match=why):
        look(directory).close()


def test_what_is_not_proven_is_refused(unchanged: Elsewhere, tmp_path: Path) -> None:
    """Another file of the name, one that was written to later, a copy of the directory, one that servers ran on."""
    file, aside = unchanged.mapped / "general/g.ibd", unchanged.mapped / "aside"
    written = file.stat()
    file.rename(aside)
    refused(unchanged.clone, r"g\.ibd: missing")
    shutil.copy2(aside, file)
    refused(unchanged.clone, r"g\.ibd is not the file that the clone in .* made there")
    aside.replace(file)
    os.utime(file)
    refused(unchanged.clone, r"g\.ibd was written to after the clone in .* was finished")
    os.utime(file, ns=(written.st_atime_ns, written.st_mtime_ns))
    shutil.copytree(unchanged.clone, tmp_path / "copy")
    refused(tmp_path / "copy", "is a copy of a clone with tablespaces outside")
    (unchanged.clone / "auto.cnf").touch()
    refused(unchanged.clone, "a server has run on it: nothing says what belongs to it now")
    (unchanged.clone / "auto.cnf").unlink()
    look(unchanged.clone).close()


def test_a_recovered_clone_is_given_to_other_hosts_alone(
    unchanged: Elsewhere, programs: Programs, taker: Server, tmp_path: Path
) -> None:
    """The data dictionary names its own files then: a server here that isn't told where its own are would use them.
    Innoclone takes it with a mapping, whatever is at the donor's places."""
    first = tmp_path / "first"
    (unchanged.places / "general").mkdir(parents=True)
    (unchanged.places / "general/g.ibd").touch()
    with served(unchanged.clone, tmp_path) as donor:
        mapping = ((str(unchanged.places), str(tmp_path / "own")),)
        clone(CloneOptions(endpoint(donor.port), first, map_paths=mapping))
    shutil.rmtree(unchanged.places)
    boot(BootOptions(first))
    before = (tmp_path / "own/general/g.ibd").read_bytes()
    with served(first, tmp_path) as donor:
        with pytest.raises(pymysql.Error, match=rf"Donor Error: 1086 : File '{tmp_path}/own/"):
            take(taker, donor.port, tmp_path / "taken", settings=ALONE)
        with mock.patch.object(ServedConnection, "is_of_this_host", False):
            take(taker, donor.port, tmp_path / "taken", settings=ALONE)
    assert (tmp_path / "own/general/g.ibd").read_bytes() == before
    with booted(programs, tmp_path / "taken", [unchanged.known]) as server:
        assert_equal(server)
    assert (tmp_path / "own/general/g.ibd").read_bytes() == before
