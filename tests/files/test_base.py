"""An older clone as material: what is taken of it, and what is never touched."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from innoclone.errors import FileError
from innoclone.files.base import ASIDE, Base, hard_linked, is_earlier_clone, server_process, space_of, tablespaces
from innoclone.innodb.space import TEMPORARY_SPACE
from made_clones import finished_clone, locked, space_page

FOUR_K = 3 << 6  # flags of a space with pages of 4 KiB
SDI = 1 << 14


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "clone" / "#innoclone").mkdir(parents=True)
    return tmp_path / "clone"


def space(path: Path, space_id: int, flags: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(space_page(space_id, flags))
    return path


def test_only_clones_are_earlier_clones(tmp_path: Path) -> None:
    assert not is_earlier_clone(tmp_path)
    (tmp_path / "#clone").touch()
    assert not is_earlier_clone(tmp_path)
    (tmp_path / "#innoclone").mkdir()
    assert is_earlier_clone(tmp_path)
    (tmp_path / "stock" / "#clone").mkdir(parents=True)
    assert is_earlier_clone(tmp_path / "stock")


def test_tablespaces_are_known_by_their_names(root: Path) -> None:
    names = ["ibdata1", "more.ibu", "mysql.ibd", "s/t.ibd", "undo_001"]
    for name in [*names, "ib_buffer_pool", "my.cnf", "s/t.sdi"]:
        space(root / name, 1)
    (root / "link.ibd").symlink_to("mysql.ibd")
    (root / "folder.ibd").mkdir()
    assert [str(path.relative_to(root)) for path in tablespaces(root)] == sorted(names)


def test_hard_links_are_found(root: Path, tmp_path: Path) -> None:
    for name in ("s/t.ibd", "ib_logfile0", "#innodb_redo/#ib_redo1"):
        file = space(root / name, 1)
        assert hard_linked(root) is None
        os.link(file, tmp_path / "backup")
        assert hard_linked(root) == file
        (tmp_path / "backup").unlink()


def test_page_0_says_what_a_file_is(root: Path) -> None:
    found = space_of(space(root / "t.ibd", 7, FOUR_K))
    assert found is not None
    assert (found.space_id, found.flags) == (7, FOUR_K)
    (root / "short").write_bytes(b"x" * 10)
    assert space_of(root / "short") is None
    assert space_of(root / "missing") is None


def test_the_lock_of_a_server_is_seen(root: Path, tmp_path: Path) -> None:
    """On the files that it locks in its directory, or on one elsewhere; not a lock for reading, which is ours."""
    assert server_process(root) is None
    for name in ("mysql.ibd", "ibdata1", "ibtmp1", "#ib_16384_0.dblwr"):
        with locked(space(root / name, 1)) as pid:
            assert server_process(root) == pid
        assert server_process(root) is None
    elsewhere = space(tmp_path / "u.ibd", 2)
    with locked(elsewhere) as pid:
        assert server_process(root) is None
        assert server_process(root, [tmp_path / "missing", elsewhere]) == pid
    with locked(root / "mysql.ibd", "import fcntl; file = open(sys.argv[1], 'rb'); fcntl.lockf(file, fcntl.LOCK_SH)"):
        assert server_process(root) is None


def test_what_can_not_be_asked_is_an_error(root: Path) -> None:
    """It may be a server's: silence would be taken for nobody's."""
    (root / "loop.ibd").symlink_to("loop.ibd")
    with pytest.raises(FileError, match=r"can't open .*loop\.ibd"):
        server_process(root, [root / "loop.ibd"])
    (root / "#ib_1_0.dblwr").symlink_to("#ib_1_0.dblwr")
    with pytest.raises(FileError, match=r"can't open .*dblwr"):
        server_process(root)


def test_tablespaces_are_set_aside_and_taken_by_id(root: Path) -> None:
    """By space id and page size; the same name is the better one, another one is counted as a rename."""
    space(root / "s" / "t.ibd", 7)
    space(root / "s" / "other.ibd", 7, SDI)
    space(root / "u.ibd", 8)
    base = Base(root)
    assert not (root / "s" / "t.ibd").exists()
    assert len(list((root / "#innoclone" / ASIDE).iterdir())) == 3
    assert not base.take(9, 0, root / "x.ibd", "./x.ibd")
    assert not base.take(7, FOUR_K, root / "x.ibd", "./x.ibd"), "pages of another size"
    assert base.take(7, 0, root / "new.ibd", "./s/t.ibd")
    assert base.renamed == 0
    header = space_of(root / "new.ibd")
    assert header is not None
    assert header.flags == 0, "the one of that name, not the first one"
    assert base.take(7, 0, root / "more.ibd", "./s/more.ibd")
    assert base.renamed == 1
    assert not base.take(7, 0, root / "x.ibd", "./x.ibd"), "each is taken once"
    assert base.remove_rest() == 1
    assert not (root / "#innoclone" / ASIDE).exists()


def test_what_is_taken_can_be_written(root: Path) -> None:
    space(root / "t.ibd", 7).chmod(0o440)
    base = Base(root)
    base.take(7, 0, root / "t.ibd", "./t.ibd")
    assert stat.S_IMODE((root / "t.ibd").stat().st_mode) == 0o640


def test_what_an_interrupted_run_set_aside_is_found_again(root: Path) -> None:
    """Its name is not known any more; a place that is taken is left alone."""
    space(root / "s.ibd", 6)
    space(root / "t.ibd", 7)
    assert Base(root).take(6, 0, root / "s.ibd", "./s.ibd")
    (root / "s.ibd").unlink()
    space(root / "u.ibd", 8)
    space(root / "v.ibd", 9)
    again = Base(root)
    assert {path.name for path in (root / "#innoclone" / ASIDE).iterdir()} == {"1", "2", "3"}
    for space_id in (7, 8, 9):
        assert again.take(space_id, 0, root / f"{space_id}.ibd", f"./{space_id}.ibd")
        header = space_of(root / f"{space_id}.ibd")
        assert header is not None
        assert header.space_id == space_id
    assert again.renamed == 2


def test_nothing_is_set_aside_where_that_was_done(root: Path) -> None:
    """What lies there then is of the new clone."""
    new = space(root / "t.ibd", 7)
    assert not Base(root, set_aside=False).take(7, 0, root / "x.ibd", "./x.ibd")
    assert new.exists()


def test_what_could_be_anothers_is_never_taken(root: Path, tmp_path: Path) -> None:
    """A hard link: what is written to it is written to both. Temporary spaces and what is no space are of no use."""
    shared = space(root / "shared.ibd", 7)
    os.link(shared, tmp_path / "backup.ibd")
    space(root / "temporary.ibd", TEMPORARY_SPACE)
    (root / "torn.ibd").write_bytes(b"torn")
    base = Base(root)
    (root / "#innoclone" / ASIDE / "link").symlink_to(tmp_path / "backup.ibd")
    base = Base(root)
    for space_id in (7, TEMPORARY_SPACE):
        assert not base.take(space_id, 0, root / "x.ibd", "./x.ibd")
    assert base.remove_rest() == 0
    assert (tmp_path / "backup.ibd").read_bytes() == space_page(7)
    assert shared.exists()


def test_a_clone_is_material_as_a_whole(tmp_path: Path) -> None:
    base = Base(finished_clone(tmp_path / "clone"))
    assert base.remove_rest() == 2
    assert [path.name for path in tablespaces(tmp_path)] == []
