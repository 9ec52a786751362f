"""Files that a server had and that are not in its directory: noticed, whatever configuration they come from."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clones import rows
from innoclone.cli.app import run as innoclone
from innoclone.donor.stored import look
from innoclone.errors import CloneError, TablespaceMissing, TargetUnusable
from innoclone.innodb.dictionary import tablespace_files
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from restores import rewrite
from servers import ServerFactory
from serving import ALONE, assert_taken, served, take

KIB = 1 << 10
STATEMENTS = """CREATE DATABASE mine
CREATE TABLE mine.gone (a INT PRIMARY KEY) DATA DIRECTORY '{0}'
DROP TABLE mine.gone
CREATE TABLE mine.`ünï täble` (a INT PRIMARY KEY)
CREATE TABLE mine.t (a INT PRIMARY KEY) DATA DIRECTORY '{0}'
INSERT INTO mine.t VALUES (1), (2)
CREATE TABLESPACE general_1 ADD DATAFILE '{0}/general.ibd'
CREATE TABLESPACE near_1 ADD DATAFILE 'near.ibd'
CREATE UNDO TABLESPACE undo_3 ADD DATAFILE '{0}/undo.ibu'"""


@dataclass(frozen=True)
class Shut:
    """Directories of one server after clean shutdowns; only to be read, and copied with hard links."""

    outside: Path  # with files in `elsewhere`
    earlier: Path  # moved together, started and shut down
    later: Path  # the same, with changes since
    longer: Path  # the same with a second file of the system tablespace
    elsewhere: Path
    factory: ServerFactory


@pytest.fixture(scope="module")
def shut(programs: Programs, templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shut]:
    folder = tmp_path_factory.mktemp("shut")
    elsewhere, factory = folder / "elsewhere", ServerFactory(programs, folder, templates)
    elsewhere.mkdir()
    try:
        server = factory(f"--innodb-directories={elsewhere}", donor=False, port=None)
        ask(server, STATEMENTS.format(elsewhere))
        server.stop()
        made = {name: folder / name for name in ("outside", "earlier", "later", "longer")}
        shutil.copytree(server.datadir, made["outside"])
        # As the hint says.
        shutil.copytree(server.datadir, made["earlier"])
        for name, place in (("mine/t.ibd", "mine"), ("general.ibd", ""), ("undo.ibu", "")):
            shutil.copy(elsewhere / name, made["earlier"] / place)
            (elsewhere / name).rename(elsewhere / f"{name}.away")
        run(programs, made["earlier"], "SELECT a FROM mine.t")
        shutil.copytree(made["earlier"], made["later"])
        run(programs, made["later"], "INSERT INTO mine.t VALUES (3)")
        shutil.copytree(made["later"], made["longer"])
        run(programs, made["longer"], "SELECT 1", "--innodb-data-file-path=ibdata1:12M;ibdata2:8M:autoextend")
        yield Shut(**made, elsewhere=elsewhere, factory=factory)
    finally:
        factory.close()
        shutil.rmtree(folder)


def ask(server: Server, statements: str) -> None:
    with server.connect() as connection, connection.cursor() as cursor:
        for statement in statements.splitlines():
            cursor.execute(statement)


def run(programs: Programs, directory: Path, statement: str, *options: str) -> None:
    """A server on it, and then a clean shutdown."""
    log = directory.parent / f"{directory.name}.log"
    with Server.start(programs, directory, port=None, error_log=log, options=options) as server:
        ask(server, statement)


@pytest.fixture
def copy(shut: Shut, tmp_path: Path) -> Iterator[Path]:
    """Of ``later``; files may be replaced and removed, not written to."""
    yield linked(shut.later, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy")


def linked(directory: Path, target: Path) -> Path:
    subprocess.run(["cp", "-al", str(directory), str(target)], check=True, timeout=60)
    return target


def refused(directory: Path, why: str, kind: type[CloneError] = TablespaceMissing) -> None:
    with pytest.raises(kind, match=why):
        look(directory).close()


def test_tables_general_and_undo_tablespaces_elsewhere(shut: Shut, capfd: pytest.CaptureFixture[str]) -> None:
    refused(shut.outside, f"has tablespaces elsewhere: {shut.elsewhere}/mine/t.ibd, .*general.ibd, .*undo.ibu")
    assert innoclone(["serve", "--no-defaults", "--port=0", str(shut.outside)]) == TablespaceMissing.exit_status
    said = capfd.readouterr().err
    assert "ERROR 1812 (HY000)" in said
    assert "hint: if those files are that server's own" in said


def test_what_was_moved_into_the_directory_is_served(shut: Shut) -> None:
    """And a directory whose system tablespace was given a second file."""
    for directory in (shut.earlier, shut.later, shut.longer):
        stored = look(directory)
        names = {file.name for file in stored.files.data}
        stored.close()
        assert {"./mine/t.ibd", "./general.ibd", "./near.ibd", "undo.ibu", "ibdata1"} <= names
        assert ("ibdata2" in names) is (directory == shut.longer)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mine/t.ibd", r"its data dictionary names \./mine/t\.ibd"),
        ("near.ibd", r"its data dictionary names near\.ibd"),
        ("undo_001", r"its data dictionary names \./undo_001"),
        ("ibdata1", r"its data dictionary names ibdata1"),
    ],
)
def test_a_file_is_missing(name: str, why: str, copy: Path) -> None:
    (copy / name).unlink()
    refused(copy, why)


def test_a_file_of_the_system_tablespace_is_missing_or_short(shut: Shut, tmp_path: Path) -> None:
    copy = linked(shut.longer, tmp_path / "copy")
    rewrite(copy / "ibdata2", lambda data: data.__delitem__(slice(64 * KIB, None)))
    refused(copy, "the system tablespace in .* is not complete: it has 1280 pages, of which 772 are there")
    (copy / "ibdata2").unlink()
    refused(copy, "its data dictionary names ibdata2")


def test_a_redo_log_of_an_earlier_configuration(shut: Shut, copy: Path) -> None:
    """Clean by itself, like the one that stays where it was when innodb_log_group_home_dir is changed."""
    shutil.rmtree(copy / "#innodb_redo")
    refused(copy, "there is no redo log", TargetUnusable)
    shutil.copytree(shut.earlier / "#innodb_redo", copy / "#innodb_redo")
    refused(copy, "are not of the same shutdown", TargetUnusable)


def test_a_system_tablespace_of_an_earlier_configuration(shut: Shut, copy: Path) -> None:
    (copy / "ibdata1").unlink()
    shutil.copy(shut.earlier / "ibdata1", copy)
    refused(copy, "are not of the same shutdown", TargetUnusable)


def test_everything_elsewhere(make_server: ServerFactory, tmp_path: Path) -> None:
    """innodb_data_home_dir, innodb_undo_directory and innodb_log_group_home_dir: then all of it copied together."""
    options = {name: tmp_path / name for name in ("data-home-dir", "undo-directory", "log-group-home-dir")}
    for path in options.values():
        path.mkdir()
    init = [f"--innodb-{name}={path}" for name, path in options.items()]
    init.append("--innodb-data-file-path=ibdata1:12M;second:8M:autoextend")
    server = make_server(init=init, donor=False, port=None)
    server.stop()
    refused(server.datadir, "there is no redo log", TargetUnusable)
    shutil.copytree(options["log-group-home-dir"] / "#innodb_redo", server.datadir / "#innodb_redo")
    refused(server.datadir, "has tablespaces elsewhere: .*/undo_001, .*/undo_002")
    for path in options["undo-directory"].iterdir():  # a copy, while the server goes on with its own
        shutil.copy(path, server.datadir)
    refused(server.datadir, "has tablespaces elsewhere: .*/undo_001, .*/undo_002")


@pytest.mark.parametrize(("page_size", "partitions"), [(4 * KIB, 160), (64 * KIB, 3)])
def test_other_page_sizes(page_size: int, partitions: int, make_server: ServerFactory, tmp_path: Path) -> None:
    """A stock server takes them. The dictionary is read as the server reads it: with 4 KiB its index has several
    pages. Whatever is wrong with a page is an answer, too."""
    server = make_server(init=[f"--innodb-page-size={page_size}"], donor=False, port=None)
    ask(server, f"CREATE DATABASE d\nCREATE TABLE d.p (a INT PRIMARY KEY) PARTITION BY HASH(a) PARTITIONS {partitions}")
    ask(server, "CREATE TABLE d.dropped (a INT PRIMARY KEY)\nDROP TABLE d.dropped")
    told = {os.path.normpath(str(name)) for (name,) in rows(server, "SELECT FILE_NAME FROM information_schema.FILES")}
    server.stop()
    recipient = make_server(init=[f"--innodb-page-size={page_size}"])
    with served(server.datadir, tmp_path) as donor:
        take(recipient, donor.port, tmp_path / "taken", settings=ALONE)
        assert_taken(donor.source, tmp_path / "taken")
    content = (server.datadir / "mysql.ibd").read_bytes()
    pages = [content[at : at + page_size] for at in range(0, len(content), page_size)]
    read: set[int] = set()

    def page(number: int) -> bytes:
        read.add(number)
        return pages[number]

    found = tablespace_files(page, len(pages))
    assert {os.path.normpath(one.name) for one in found} == told
    assert len(found) == len(told)
    chance = random.Random(1)
    leaves = sorted(read)[-6:]
    for _ in range(300):
        number, at = chance.choice(leaves), chance.randrange(page_size)
        kept = pages[number]
        pages[number] = kept[:at] + bytes([kept[at] ^ (1 << chance.randrange(8))]) + kept[at + 1 :]
        try:
            tablespace_files(page, len(pages))
        except ValueError:
            pass
        finally:
            pages[number] = kept
