"""Local clones of live stock servers: load and DDL, torn bytes, files that move, every way to copy, every layout."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clones import assert_sound, booted, check_tables, innochecksum, outside_donor, rows
from innoclone.commands.boot import boot
from innoclone.commands.options import BootOptions, LocalOptions
from innoclone.errors import BadPage, CloneError, PathRefused, TargetUnusable
from innoclone.files import copying
from innoclone.files.base import space_of
from innoclone.files.copying import Method
from innoclone.files.marks import is_unfinished
from innoclone.innodb.page import PageChecker
from innoclone.innodb.space import SYSTEM_SPACE, SpaceFlags
from innoclone.records.manifest import read_manifest
from innoclone.sandbox.ddl import DdlLoop
from innoclone.sandbox.fill import fill
from innoclone.sandbox.load import Load
from innoclone.server.donorfiles import DonorFiles
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.sinks.blockwriter import FileWriter
from innoclone.sources import localcopy
from innoclone.wire.descriptors import FileFlag, FileMetadata, StageNumber
from local_clones import MIB, assert_equal, checksums, local_clone
from servers import ServerFactory

COPY, DIRECT, READ_WRITE = Method.KERNEL.value, Method.DIRECT.value, Method.READ_WRITE.value


@pytest.fixture(scope="module")
def busy(make_module_server: ServerFactory) -> Server:
    """A server that writes changed pages to disk at once, so that copies of its files are old and torn."""
    server = make_module_server(
        "--innodb-max-dirty-pages-pct=0", "--innodb-max-dirty-pages-pct-lwm=0", "--innodb-io-capacity=2000"
    )
    fill(server.connect, 24 * MIB)
    return server


@pytest.mark.parametrize(
    ("methods", "cached"), [((COPY,), True), ((READ_WRITE,), True), ((READ_WRITE, DIRECT), False)],
    ids=["kernel", "read-write", "direct"],
)  # fmt: skip
def test_full_clones_under_load_and_ddl(
    methods: tuple[str, ...], cached: bool, busy: Server, programs: Programs, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """While everything changes; it boots and keeps every invariant. Once with O_DIRECT and large files in pieces."""
    if not cached:
        monkeypatch.setattr(copying, "is_cached", lambda *_: False)
        monkeypatch.setattr(localcopy, "PIECE", MIB)
    with Load(busy.connect, threads=2) as load, DdlLoop(busy.connect) as ddl:
        result = local_clone(busy, tmp_path / "clone", copy_methods=methods, threads=3)
    assert (load.errors, ddl.errors) == ([], [])
    assert result.summary.methods == set(methods)
    assert not result.incremental
    assert_sound(programs, result.directory)


def test_an_index_is_built_across_the_stages(busy: Server, programs: Programs, tmp_path: Path) -> None:
    """A bulk ADD INDEX, which is not logged page by page, runs from before the clone to after FILE COPY, and again."""
    rows(busy, "CREATE DATABASE bulk")
    rows(busy, "CREATE TABLE bulk.t (id INT AUTO_INCREMENT PRIMARY KEY, a CHAR(64), b CHAR(64))")
    rows(busy, "INSERT INTO bulk.t (a, b) VALUES (SHA2(1, 256), SHA2(2, 256))")
    for _ in range(16):
        rows(busy, "INSERT INTO bulk.t (a, b) SELECT SHA2(RAND(), 256), SHA2(RAND(), 256) FROM bulk.t")
    built, stop = [], threading.Event()

    def build() -> None:
        while not stop.is_set():
            rows(busy, "ALTER TABLE bulk.t ADD INDEX one (a, b), ADD INDEX two (b, a), ALGORITHM=INPLACE")
            built.append(time.monotonic())
            rows(busy, "ALTER TABLE bulk.t DROP INDEX one, DROP INDEX two")

    builder = threading.Thread(target=build)
    builder.start()
    try:
        time.sleep(0.3)
        begin = time.monotonic()
        for number in range(2):
            local_clone(busy, tmp_path / f"clone-{number}")
        local_clone(busy, tmp_path / "clone-0")
    finally:
        stop.set()
        builder.join()
    assert any(moment > begin for moment in built)
    for number in range(2):
        assert innochecksum(programs, tmp_path / f"clone-{number}") == []
        with booted(programs, tmp_path / f"clone-{number}") as clone:
            assert rows(clone, "SELECT COUNT(*) FROM bulk.t") == [(1 << 16,)]
            assert [row[3] for row in rows(clone, "CHECK TABLE bulk.t EXTENDED")] == ["OK"]
    rows(busy, "DROP DATABASE bulk")


class Torn:
    """A copy that reads each page in two halves, a moment apart, and counts what is damaged at its end."""

    def __init__(self) -> None:
        self.bad = 0

    def copy(self, source: int, target: int, account: Callable[[int], None], **_: object) -> Method:
        name = Path(f"/proc/self/fd/{source}").readlink()
        busy = name.parent.name == "traffic" or name.name.startswith(("undo", "ibdata1"))
        data = bytearray(os.fstat(source).st_size)
        for half in range(2 if busy else 1):
            now = os.pread(source, len(data), 0)
            for page in range(0, len(data), 16384):
                start = page + 8192 * half
                data[start : page + 16384] = now[start : page + 16384]
            if busy and not half:
                time.sleep(1.0)
        os.pwrite(target, data, 0)
        header = space_of(name) if busy else None
        if header is not None:
            self.bad += len(list(PageChecker(SpaceFlags(header.flags), header.space_id).bad_pages(data, 0)))
        account(len(data))
        return Method.READ_WRITE


def test_torn_pages_are_repaired(
    busy: Server, programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half old, half new pages of every busy file are whole after PAGE COPY and REDO COPY."""
    torn = Torn()
    monkeypatch.setattr(localcopy, "copy_file", torn.copy)
    with Load(busy.connect, threads=2):
        local_clone(busy, tmp_path / "clone", threads=4, verify_pages=True)
    assert torn.bad > 0, "nothing was torn, so nothing was proven"
    assert_sound(programs, tmp_path / "clone")


def test_torn_pages_are_noticed_without_the_repair(
    busy: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: PAGE COPY is thrown away, and the check of all pages says so; nothing is left."""
    write = FileWriter.write

    def drop(self: FileWriter, view: memoryview, offset: int) -> None:
        if self._stage is not StageNumber.PAGE_COPY:
            write(self, view, offset)

    monkeypatch.setattr(FileWriter, "write", drop)
    monkeypatch.setattr(localcopy, "copy_file", Torn().copy)
    with Load(busy.connect, threads=2), pytest.raises(BadPage):
        local_clone(busy, tmp_path / "clone", threads=4, verify_pages=True)
    assert not (tmp_path / "clone").exists()


@pytest.mark.parametrize("methods", [LocalOptions.copy_methods, (READ_WRITE,), (COPY,)], ids=["all", "read", "kernel"])
def test_damage_is_found_on_the_way(methods: tuple[str, ...], donor: Server, tmp_path: Path) -> None:
    """In a full copy and in an update; where the kernel copies, only if all is to be read again."""
    rows(donor, "CREATE TABLE shop.damaged (id INT PRIMARY KEY, b LONGBLOB)")
    rows(donor, f"INSERT INTO shop.damaged VALUES (1, REPEAT('x', {6 * MIB}))")
    with donor.connect() as connection, connection.cursor() as cursor:
        cursor.execute("FLUSH TABLES shop.damaged FOR EXPORT")  # what is on disk stays as it is
    path, place = donor.datadir / "shop" / "damaged.ibd", 100 * 16384 + 5000
    with path.open("r+b") as file:
        sound = os.pread(file.fileno(), 1, place)
        os.pwrite(file.fileno(), bytes([sound[0] ^ 1]), place)
    try:
        quick = None if COPY not in methods[:1] else True
        with pytest.raises(BadPage, match=r"damaged\.ibd.* page 100"):
            local_clone(donor, tmp_path / "clone", copy_methods=methods, verify_pages=quick)
        assert not (tmp_path / "clone").exists()
        local_clone(donor, tmp_path / "clone", copy_methods=methods, verify_pages=False)
        with pytest.raises(BadPage, match=r"damaged\.ibd.* page 100"):
            local_clone(donor, tmp_path / "clone", copy_methods=methods)
        assert is_unfinished(tmp_path / "clone")
    finally:
        with path.open("r+b") as file:
            os.pwrite(file.fileno(), sound, place)
    result = local_clone(donor, tmp_path / "clone", copy_methods=methods)
    sizes = sum(file.stat().st_size for file in (tmp_path / "clone").rglob("*.ibd"))
    assert result.summary.pages_checked > sizes // 16384
    rows(donor, "DROP TABLE shop.damaged")


def test_files_that_move_between_listing_and_opening(
    busy: Server, programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renamed, moved to another schema, dropped, truncated, dropped and made again, swapped: right before the open."""
    names = ("renamed", "moved", "dropped", "emptied", "again", "left", "right")
    for schema in ("races", "races_b"):
        rows(busy, f"CREATE DATABASE {schema}")
    for number, name in enumerate(names):
        rows(busy, f"CREATE TABLE races.{name} (id INT PRIMARY KEY) SELECT {number} AS id")
    races = {
        "renamed": ["RENAME TABLE races.renamed TO races.other"],
        "moved": ["RENAME TABLE races.moved TO races_b.moved"],
        "dropped": ["DROP TABLE races.dropped"],
        "emptied": ["TRUNCATE TABLE races.emptied"],
        "again": ["DROP TABLE races.again", "CREATE TABLE races.again (id INT PRIMARY KEY) SELECT 100 AS id"],
        "left": ["RENAME TABLE races.left TO races.x, races.right TO races.left, races.x TO races.right"],
    }
    open_file = DonorFiles.open

    def race(self: DonorFiles, meta: FileMetadata) -> int | None:
        for statement in races.pop(Path(meta.name).stem, []) if "races" in meta.name else []:
            rows(busy, statement)
        return open_file(self, meta)

    monkeypatch.setattr(DonorFiles, "open", race)
    result = local_clone(busy, tmp_path / "clone")
    assert not races
    assert any("followed DDL" in note for note in result.notes)
    with booted(programs, tmp_path / "clone") as clone:
        found = {row[0] for row in rows(clone, "SHOW TABLES IN races")}
        assert found == {"other", "emptied", "again", "left", "right"}
        for table, content in (("other", [0]), ("emptied", []), ("again", [100]), ("left", [6]), ("right", [5])):
            assert rows(clone, f"SELECT id FROM races.{table}") == [(value,) for value in content], table
        assert rows(clone, "SELECT id FROM races_b.moved") == [(1,)]
        assert check_tables(clone) == []
    rows(busy, "DROP DATABASE races")


def test_a_file_that_vanished_without_notice_fails_the_clone(
    donor: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a file that nobody dropped can't be found, however often it is looked for."""
    looks = []
    open_file = DonorFiles.open

    def blind(self: DonorFiles, meta: FileMetadata) -> int | None:
        if meta.name.endswith("shop/nothing_yet.ibd"):
            looks.append(meta.name)
            return None
        return open_file(self, meta)

    monkeypatch.setattr(DonorFiles, "open", blind)
    with pytest.raises(CloneError, match=r"vanished.*nothing_yet"):
        local_clone(donor, tmp_path / "clone")
    assert len(looks) == 2
    assert not (tmp_path / "clone").exists()


@pytest.fixture
def other_file_system() -> Iterator[Path]:
    """A folder in memory."""
    if not Path("/dev/shm").is_dir():
        pytest.skip("there is no /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def test_copy_to_another_file_system(donor: Server, programs: Programs, other_file_system: Path) -> None:
    """copy_file_range says EXDEV: the bytes are read and written, all of them; the update likewise."""
    directory = other_file_system / "clone"
    result = local_clone(donor, directory, copy_methods=(COPY,))
    assert result.summary.methods == {READ_WRITE}
    assert innochecksum(programs, directory) == []
    again = local_clone(donor, directory)
    assert again.summary.pages_written < 20
    assert again.summary.reused == result.summary.new, "every tablespace; the buffer pool's dump is none"
    assert again.summary.new == 0
    assert_equal(programs, directory, checksums(donor))


def test_reflink(mounted_xfs: Path, programs: Programs, templates: Path) -> None:
    """Blocks are shared under load; an update of the clone does not reach the donor, nor the other way round."""
    factory = ServerFactory(programs, mounted_xfs, templates)
    try:
        server = factory()
        fill(server.connect, 24 * MIB)
        with Load(server.connect, threads=2) as load:
            result = local_clone(server, mounted_xfs / "clone")
        assert load.errors == []
        assert result.reflink
        assert result.summary.methods == {Method.REFLINK.value}
        assert result.summary.written < MIB
        again = local_clone(server, mounted_xfs / "clone")
        assert again.incremental
        assert again.summary.reused > again.summary.new
        expected = checksums(server)
        assert_equal(programs, mounted_xfs / "clone", expected)
        assert checksums(server) == expected
        assert check_tables(server) == []
    finally:
        factory.close()


@pytest.mark.parametrize("absolute", [False, True])
def test_system_files_elsewhere(absolute: bool, make_server: ServerFactory, programs: Programs, tmp_path: Path) -> None:
    """Two system files, in innodb_data_home_dir or each in a directory of its own; never the donor's are started."""
    one, two = tmp_path / "one", tmp_path / "two" if absolute else tmp_path / "one"
    for folder in {one, two}:
        folder.mkdir()
    files = "{0}ibdata1:12M;{1}ibdata2:8M:autoextend"
    layout = files.format(f"{one}/", f"{two}/") if absolute else files.format("", "")
    home = "" if absolute else one
    server = make_server(init=[f"--innodb-data-file-path={layout}", f"--innodb-data-home-dir={home}"])
    rows(server, "CREATE DATABASE a")
    rows(server, "CREATE TABLE a.t (id INT PRIMARY KEY, b LONGBLOB) TABLESPACE innodb_system")
    rows(server, f"INSERT INTO a.t VALUES (1, REPEAT('x', {24 * MIB}))")
    expected = checksums(server)
    here = files.format("", "")
    for _ in range(2):
        local_clone(server, tmp_path / "clone", verify_pages=True)
        assert (tmp_path / "clone" / "ibdata2").stat().st_size > 8 * MIB
        assert read_manifest(tmp_path / "clone")["donor"]["data_file_path"] == here
        assert_equal(programs, tmp_path / "clone", expected, [f"--innodb-data-file-path={here}"])
    with pytest.raises(TargetUnusable, match="lie one in the other"):
        local_clone(server, two / "clone")


def test_files_outside_the_data_directory(make_server: ServerFactory, programs: Programs, tmp_path: Path) -> None:
    """Undo, tables, partitions and a general tablespace elsewhere; in full and again, never in the donor's way."""
    server, outside = outside_donor(make_server, tmp_path)
    directory, here = tmp_path / "clone", tmp_path / "here"
    mapping = ((str(outside / "tables"), str(here / "tables")), (str(outside / "general"), str(here / "general")))
    before = {path: space_of(path) for path in outside.rglob("*") if path.is_file()}
    with pytest.raises(PathRefused):
        local_clone(server, directory)
    with pytest.raises(TargetUnusable, match="lies in the donor's directory"):
        local_clone(server, directory, map_paths=((str(outside), str(outside / "tables" / "clone")),))
    assert not directory.exists()
    local_clone(server, directory, map_paths=mapping)
    with pytest.raises(PathRefused):
        local_clone(server, directory)
    assert not is_unfinished(directory), "the earlier clone is not used up by a run that can't succeed"
    mine = here / "general" / "g.ibd"
    content = mine.read_bytes()
    with pytest.raises(PathRefused, match="keep-base"):
        local_clone(server, directory, map_paths=mapping, keep_base=True)
    assert mine.read_bytes() == content
    copy = Path(shutil.copytree(directory, tmp_path / "copy"))  # its manifest tells of the same files
    with pytest.raises(PathRefused, match="not from the clone in"):
        local_clone(server, copy, map_paths=mapping)
    with pytest.raises(TargetUnusable, match="is the original's"):
        boot(BootOptions(copy))
    assert not is_unfinished(copy)
    assert mine.read_bytes() == content
    rows(server, "INSERT INTO away.t VALUES (5, 50)")
    rows(server, "ALTER TABLE away.p TRUNCATE PARTITION a")
    expected = checksums(server)
    result = local_clone(server, directory, map_paths=mapping, verify_pages=True)
    assert result.incremental
    assert {path: space_of(path) for path in before} != before, "the truncated partition has a new id"
    assert all(path.exists() for path in before)
    directories = ";".join(read_manifest(directory)["external_directories"])
    server.stop()
    shutil.move(outside, tmp_path / "gone")  # a clone that still looked there would fail now
    assert_equal(programs, directory, expected, [f"--innodb-directories={directories}"])


def test_the_second_system_file_is_found_by_its_place(tmp_path: Path) -> None:
    """A name without its directory is looked up in what the server told."""
    files = DonorFiles(tmp_path, tmp_path / "home", tmp_path / "undo", {"ibdata2": tmp_path / "b" / "ibdata2"}, [])

    def meta(name: str) -> FileMetadata:
        return FileMetadata(StageNumber.FILE_COPY, 0, 0, 0, 0, FileFlag(0), SYSTEM_SPACE, 0, 0, 0, name)

    assert files.path(meta("ibdata1")) == tmp_path / "home" / "ibdata1"
    assert files.path(meta("ibdata2")) == tmp_path / "b" / "ibdata2"
