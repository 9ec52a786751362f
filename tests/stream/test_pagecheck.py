"""The check of a whole directory (innoclone.stream.pagecheck), on files made here.

Directories that a server wrote are in tests/innodb/test_real.py.
"""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path

import pytest

from innoclone.errors import Interrupted
from innoclone.innodb.page import BadPage, Verdict
from innoclone.innodb.space import KIB, SpaceFlags
from innoclone.stream import pagecheck
from innoclone.stream.pagecheck import ExpectedFile, check_files, check_redo, find_tablespaces
from innodb_pages import LAYOUTS, PLAIN, ZIPPED, make_page, seal
from redo_logs import log_block, redo_file

START = 8192 * 512


def write_tablespace(path: Path, flags: SpaceFlags, space: int, count: int, first: int = 0) -> ExpectedFile:
    path.parent.mkdir(exist_ok=True)
    pages = [bytearray(make_page(flags, first + number, space=space)) for number in range(count)]
    if first == 0:
        struct.pack_into(">I", pages[0], 38, space)
        struct.pack_into(">I", pages[0], 54, flags.raw)
        seal(pages[0], flags)
    path.write_bytes(b"".join(pages))
    return ExpectedFile(path.name, space, flags.raw, count * flags.physical_page_size)


def damage(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.fixture
def small_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files of a few pages take several reads and spans."""
    monkeypatch.setattr(pagecheck, "BLOCK", 64 * KIB)
    monkeypatch.setattr(pagecheck, "SPAN_SIZE", 128 * KIB)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.usefixtures("small_spans")
def test_all_layouts_are_found_and_sound(tmp_path: Path, threads: int) -> None:
    expected = [write_tablespace(tmp_path / f"t{i}.ibd", flags, 10 + i, 23) for i, flags in enumerate(LAYOUTS)]
    seen: list[int] = []
    for files in (None, expected):
        seen.clear()
        report = check_files(tmp_path, files, threads=threads, progress=seen.append)
        assert list(report.problems()) == []
        assert report.is_sound
        assert report.pages == 23 * len(LAYOUTS)
        assert sum(seen) == report.bytes == sum(file.stat().st_size for file in tmp_path.iterdir())


@pytest.mark.usefixtures("small_spans")
def test_damage_is_named(tmp_path: Path) -> None:
    plain, zipped = tmp_path / "plain.ibd", tmp_path / "zipped.ibd"
    expected = [write_tablespace(plain, PLAIN, 5, 40), write_tablespace(zipped, ZIPPED, 6, 40)]
    damage(plain, 33 * 16 * KIB + 999, b"?")
    damage(plain, 7 * 16 * KIB, make_page(PLAIN, 8, space=5))
    damage(plain, 9 * 16 * KIB, make_page(PLAIN, 9, space=5, lsn=99)[: 4 * KIB])
    damage(zipped, 21 * 8 * KIB, make_page(ZIPPED, 21, space=7))
    report = check_files(tmp_path, expected)
    assert {file.name: file.bad for file in report.files} == {
        "plain.ibd": [BadPage(7, Verdict.MISPLACED), BadPage(9, Verdict.TORN), BadPage(33, Verdict.CORRUPT)],
        "zipped.ibd": [BadPage(21, Verdict.FOREIGN)],
    }
    assert list(report.problems()) == [
        "plain.ibd: page 7 is misplaced",
        "plain.ibd: page 9 is torn",
        "plain.ibd: page 33 is corrupt",
        "zipped.ibd: page 21 is of another tablespace",
    ]
    assert not report.is_sound


@pytest.mark.usefixtures("small_spans")
def test_bad_pages_are_counted_but_not_all_kept(tmp_path: Path) -> None:
    write_tablespace(tmp_path / "t.ibd", ZIPPED, 5, 700)
    with (tmp_path / "t.ibd").open("r+b") as file:
        for number in range(1, 700):
            file.seek(number * 8 * KIB + 200)
            file.write(b"damaged!")
    (found,) = check_files(tmp_path).files
    assert found.bad_count == 699
    assert [bad.number for bad in found.bad] == list(range(1, 1 + pagecheck.LISTED))
    assert list(check_files(tmp_path).problems())[-1] == "t.ibd: 599 more bad pages"


def test_files_that_are_not_as_expected(tmp_path: Path) -> None:
    expected = [
        write_tablespace(tmp_path / "short.ibd", PLAIN, 1, 8),
        write_tablespace(tmp_path / "torn-off.ibd", PLAIN, 2, 8),
        write_tablespace(tmp_path / "longer.ibd", PLAIN, 3, 8),
        ExpectedFile("gone.ibd", 4, 0, 1),
        ExpectedFile("nonsense.ibd", 5, 0xFFFFFFFF, 1),
    ]
    write_tablespace(tmp_path / "unknown.ibd", PLAIN, 9, 1)
    (tmp_path / "nonsense.ibd").write_bytes(bytes(100))
    os.truncate(tmp_path / "short.ibd", 7 * 16 * KIB)
    os.truncate(tmp_path / "torn-off.ibd", 7 * 16 * KIB + 1)
    os.truncate(tmp_path / "longer.ibd", 9 * 16 * KIB)
    report = check_files(tmp_path, expected)
    assert list(report.problems()) == [
        "short.ibd: truncated: 114688 bytes instead of 131072",
        "torn-off.ibd: truncated: 114689 bytes instead of 131072",
        "torn-off.ibd: page 7 is truncated",
        "gone.ibd: missing",
        "nonsense.ibd: tablespace flags 0xffffffff make no sense",
        "unknown.ibd: not part of the clone",
    ]


def test_without_a_list(tmp_path: Path) -> None:
    write_tablespace(tmp_path / "a.ibd", PLAIN, 7, 2)
    write_tablespace(tmp_path / "b.ibd", PLAIN, 7, 2)
    (tmp_path / "empty.ibd").touch()
    (tmp_path / "zeros.ibd").write_bytes(bytes(16 * KIB))
    write_tablespace(tmp_path / "odd.ibd", PLAIN, 8, 2)
    damage(tmp_path / "odd.ibd", 54, b"\xff")
    assert list(check_files(tmp_path).problems()) == [
        "a.ibd: another file has the same space id 7",
        "b.ibd: another file has the same space id 7",
        "empty.ibd: page 0 is empty",
        "odd.ibd: tablespace flags 0xff000000 make no sense",
        "zeros.ibd: page 0 is empty",
    ]


def test_page_numbers_count_through_the_files_of_the_system_tablespace(tmp_path: Path) -> None:
    files = [
        write_tablespace(tmp_path / "ibdata1", PLAIN, 0, 12),
        write_tablespace(tmp_path / "ibdata2", PLAIN, 0, 5, first=12),
        write_tablespace(tmp_path / "ibdata10", PLAIN, 0, 3, first=17),
    ]
    assert check_files(tmp_path).is_sound
    assert check_files(tmp_path, files).is_sound
    damage(tmp_path / "ibdata10", 16 * KIB + 50, b"?")
    assert list(check_files(tmp_path, files).problems()) == ["ibdata10: page 18 is corrupt"]


def test_which_files_are_tablespaces(tmp_path: Path) -> None:
    for name in ("#innodb_temp", "#innodb_redo", "@0023own", "db"):
        (tmp_path / name).mkdir()
    for name in (
        "ibdata1", "ibtmp1", "undo_001", "undo_1_trunc.log", "more.ibu", "mysql.ibd", "auto.cnf", "ib_buffer_pool",
        "#innodb_temp/temp_1.ibt", "#ib_16384_0.dblwr", "#innodb_redo/#ib_redo7", "@0023own/t.ibd", "db/t#p#p0.ibd",
        "db/#sql-ib99.ibd", "db/t.cfg", "db/t.sdi",
    ):  # fmt: skip
        (tmp_path / name).touch()
    assert find_tablespaces(tmp_path) == [
        "@0023own/t.ibd", "db/#sql-ib99.ibd", "db/t#p#p0.ibd", "ibdata1", "more.ibu", "mysql.ibd", "undo_001",
    ]  # fmt: skip


def test_cancel(tmp_path: Path) -> None:
    write_tablespace(tmp_path / "t.ibd", PLAIN, 5, 300)
    cancel = threading.Event()
    with pytest.raises(Interrupted):
        check_files(tmp_path, cancel=cancel, threads=1, progress=lambda _: cancel.set())


def test_an_error_in_one_thread_ends_all(tmp_path: Path) -> None:
    write_tablespace(tmp_path / "t.ibd", PLAIN, 5, 300)

    def fail(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_files(tmp_path, threads=2, progress=fail)


# ---- redo log ----------------------------------------------------------------------------------------------


ROOM = 64 * KIB - 2048
FULL = 8


@pytest.fixture
def redo(tmp_path: Path) -> Path:
    """A log of two files with its checkpoint in the first one's fourth block."""
    directory = tmp_path / "#innodb_redo"
    directory.mkdir()
    first = redo_file(START, ROOM // 512, checkpoint=START + 3 * 512 + 20, flags=FULL)
    (directory / "#ib_redo9").write_bytes(first)
    (directory / "#ib_redo10").write_bytes(redo_file(START + ROOM, 5, last_length=100))
    (directory / "#ib_redo11_tmp").write_bytes(bytes(64 * KIB))
    return directory


def problems(redo: Path) -> tuple[str, ...]:
    return check_redo(redo.parent).problems


def test_sound_log(redo: Path) -> None:
    report = check_redo(redo.parent)
    assert report.problems == ()
    assert report.files == 2
    assert report.checkpoint_lsn == START + 3 * 512 + 20
    assert report.end_lsn == START + ROOM + 4 * 512 + 100


def test_log_that_ends_at_a_block_or_file_boundary(redo: Path) -> None:
    (redo / "#ib_redo10").write_bytes(redo_file(START + ROOM, 5))
    assert check_redo(redo.parent).end_lsn == START + ROOM + 5 * 512
    stale = bytearray(redo_file(START + ROOM, 5))
    stale[2048 + 5 * 512 : 2048 + 6 * 512] = log_block(START - 99 * 512)
    (redo / "#ib_redo10").write_bytes(stale)
    assert check_redo(redo.parent).problems == ()
    assert check_redo(redo.parent).end_lsn == START + ROOM + 5 * 512


def test_damaged_block(redo: Path) -> None:
    damage(redo / "#ib_redo9", 2048 + 2 * 512 + 60, b"?")
    assert problems(redo) == ()  # before the checkpoint
    damage(redo / "#ib_redo9", 2048 + 8 * 512 + 60, b"?")
    assert problems(redo) == (f"#ib_redo9: the block of LSN {START + 8 * 512} is damaged",)


def test_log_that_ends_too_early(redo: Path) -> None:
    damage(redo / "#ib_redo9", 2048 + 9 * 512, bytes(512))
    assert problems(redo) == (f"#ib_redo9: the log ends at LSN {START + 9 * 512}, before its last file",)
    damage(redo / "#ib_redo9", 2048 + 3 * 512, bytes(512))
    assert f"before its checkpoint {START + 3 * 512 + 20}" in problems(redo)[-1]


def test_header_damage(redo: Path) -> None:
    damage(redo / "#ib_redo10", 17, b"?")
    assert problems(redo) == ("#ib_redo10: the header's checksum is wrong",)
    os.truncate(redo / "#ib_redo10", 100)
    assert problems(redo) == ("#ib_redo10: the file ends inside its header",)


def test_chain(redo: Path) -> None:
    (redo / "#ib_redo10").rename(redo / "#ib_redo12")
    assert problems(redo) == ("#ib_redo10 is missing",)
    (redo / "#ib_redo12").unlink()
    assert problems(redo) == ("#ib_redo9 is full and nothing follows it",)
    (redo / "#ib_redo10").write_bytes(redo_file(START + ROOM + 512, 5, uuid=78))
    assert problems(redo) == (
        f"#ib_redo10 starts at LSN {START + ROOM + 512}, but the file before it ends at {START + ROOM}",
        "#ib_redo10 belongs to another log",
    )
    (redo / "#ib_redo9").unlink()
    assert problems(redo) == ("no file has a checkpoint",)
    (redo / "#ib_redo10").unlink()
    assert problems(redo) == ("there is no redo log file",)


def test_odd_size_and_switched_off_log(redo: Path) -> None:
    os.truncate(redo / "#ib_redo10", 64 * KIB + 1)
    assert problems(redo) == ("#ib_redo10 has a size of 65537 bytes, which no server accepts",)
    (redo / "#ib_redo10").write_bytes(redo_file(START + ROOM, 5, flags=1))
    assert problems(redo) == ("redo logging was switched off",)
    (redo / "#ib_redo10").write_bytes(redo_file(START + ROOM, 5, flags=4))
    assert problems(redo) == ("#ib_redo10 was never finished",)


def test_encrypted_and_unchecked_blocks_are_counted(redo: Path) -> None:
    damage(redo / "#ib_redo9", 2048 + 5 * 512 + 4, b"\x82")
    damage(redo / "#ib_redo9", 2048 + 6 * 512 + 508, b"\xde\xad\xbe\xef")
    report = check_redo(redo.parent)
    assert report.problems == ()
    assert (report.not_verifiable, report.unsummed) == (2, 1)
