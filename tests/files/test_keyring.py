"""Keyring files of clones (innoclone.files.keyring): made once, whole, and for nobody else."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import threading
from pathlib import Path
from unittest import mock

import pytest

from innoclone.errors import CloneError, DiskFull, FileError, KeyringFailed
from innoclone.files import keyring
from innoclone.files.keyring import (
    ENCRYPTION,
    CloneKeyring,
    is_configuration,
    is_keyring_home,
    keyring_home,
    local_configuration,
    noted_keyring,
    read_keyring,
)
from innoclone.innodb.encryption import MasterKey
from innoclone.innodb.keyring import serialize_keyring

UUID, OTHER = "57ba5101-c165-4b57-9624-7a3c4121a8b9", "67ba5101-c165-4b57-9624-7a3c4121a8b9"


def ring(path: Path, *keys: MasterKey) -> Path:
    elements = b",".join(serialize_keyring(key)[len(b'{"version":"1.0","elements":[') : -2] for key in keys)
    path.write_bytes(b'{"version":"1.0","elements":[' + elements + b"]}")
    return path


def key(number: int, uuid: str = UUID) -> MasterKey:
    return MasterKey(uuid, number, bytes([number] * 32))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_one(tmp_path: Path) -> None:
    home = keyring_home(tmp_path / "clone")
    made = CloneKeyring(home)
    made.check()
    assert not made.in_use
    assert not home.exists()
    before = os.umask(0)
    try:
        master = made.master()
    finally:
        os.umask(before)
    assert made.in_use
    assert made.path is not None
    assert made.path.parent == home == tmp_path / "clone.keyring"
    assert (mode(home), mode(made.path)) == (0o700, 0o600)
    assert read_keyring(made.path) == {master.name: master}
    assert [*home.iterdir()] == [made.path]
    assert made.master() is master
    made.give(tmp_path)
    made.discard()
    assert not home.exists()
    made.discard()


def test_all_connections_get_the_same(tmp_path: Path) -> None:
    made = CloneKeyring(tmp_path / "home")
    found: list[MasterKey] = []
    threads = [threading.Thread(target=lambda: found.append(made.master())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len([*(tmp_path / "home").iterdir()]) == 1


def test_what_others_have_beside_it_stays(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "another").write_text("")
    made = CloneKeyring(home)
    made.master()
    made.discard()
    assert [*home.iterdir()] == [home / "another"]


def test_what_a_server_has_written_to_stays(tmp_path: Path) -> None:
    made = CloneKeyring(tmp_path / "home")
    master = made.master()
    assert made.path is not None
    ring(made.path, master, key(2, OTHER))
    made.discard()
    assert made.path.exists()


def test_an_earlier_one_goes_on(tmp_path: Path) -> None:
    old = ring(tmp_path / "old", key(1), key(2))
    again = CloneKeyring(tmp_path / "home", known=(old, key(1).name))
    assert again.master() == key(1)
    assert again.path == old
    again.discard()
    assert old.exists()
    anew = CloneKeyring(tmp_path / "home", known=(tmp_path / "gone", key(1).name))
    anew.check()
    assert anew.master() not in (key(1), key(2))
    assert anew.path is not None
    assert anew.path.parent == tmp_path / "home"


def test_that_of_another_clone_goes_on_in_a_file_of_its_own(tmp_path: Path) -> None:
    """With the one key: what servers on the other clone have added is theirs."""
    home = tmp_path / "home"
    home.mkdir()
    old = ring(home / UUID, key(1), key(2, OTHER))
    before = old.read_bytes()
    names = []
    for _ in range(2):
        again = CloneKeyring(home, known=(old, key(1).name), is_anothers=True)
        assert again.master() == key(1)
        assert again.path is not None
        assert read_keyring(again.path) == {key(1).name: key(1)}
        assert mode(again.path) == 0o600
        names.append(again.path.name)
    assert names == [f"{UUID}.1", f"{UUID}.2"]
    again.discard()
    assert {path.name for path in home.iterdir()} == {UUID, f"{UUID}.1"}
    assert old.read_bytes() == before


@pytest.mark.parametrize("content", [b"{", b"", serialize_keyring(key(3))])
def test_an_earlier_one_that_can_not_be_read_is_not_replaced(tmp_path: Path, content: bytes) -> None:
    old = tmp_path / "old"
    old.write_bytes(content)
    kept = CloneKeyring(tmp_path / "home", known=(old, key(1).name))
    for ask in (kept.check, kept.master):
        with pytest.raises(KeyringFailed) as caught:
            ask()
        assert "the earlier clone's" in caught.value.advice
    assert old.read_bytes() == content
    assert not (tmp_path / "home").exists()


def test_that_of_a_clone_that_goes_on(tmp_path: Path) -> None:
    old = ring(tmp_path / "old", key(1))
    again = CloneKeyring(tmp_path / "home")
    again.take(old, key(1).name)
    assert again.master() == key(1)
    with pytest.raises(KeyringFailed, match="has no key"):
        again.take(old, key(2).name)


@pytest.mark.parametrize("content", [None, b"", b"{", serialize_keyring(key(2)), serialize_keyring(key(1, OTHER))])
def test_one_that_is_gone_or_another_at_the_end(tmp_path: Path, content: bytes | None) -> None:
    mine = ring(tmp_path / "mine", key(1))
    used = CloneKeyring(tmp_path / "home", file=mine)
    assert used.master() == key(1)
    used.prove()
    ring(mine, key(1), key(2))  # a server has added one
    used.prove()
    mine.unlink()
    if content is not None:
        mine.write_bytes(content)
    with pytest.raises(KeyringFailed) as caught:
        used.prove()
    assert "while the clone was made" in caught.value.advice
    mine.write_bytes(serialize_keyring(MasterKey(UUID, 1, bytes(32))))
    with pytest.raises(KeyringFailed, match="is another key by now"):
        used.prove()


def test_one_of_the_users(tmp_path: Path) -> None:
    mine = ring(tmp_path / "mine", key(2), key(10), key(9))
    content = mine.read_bytes()
    for wanted, found in ((None, key(10)), (key(2).name, key(2))):
        chosen = CloneKeyring(tmp_path / "home", file=mine, key=wanted)
        chosen.check()
        assert chosen.master() == found
        chosen.discard()
    assert mine.read_bytes() == content
    assert not (tmp_path / "home").exists()


def test_one_of_the_users_that_is_to_be_made(tmp_path: Path) -> None:
    made = CloneKeyring(tmp_path / "home", file=tmp_path / "mine")
    made.check()
    made.master()
    assert mode(tmp_path / "mine") == 0o600
    made.give(tmp_path)
    made.discard()
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("keys", "wanted", "said"),
    [
        ((), None, "has no master key"),
        ((key(1), key(2, OTHER)), None, "of several servers"),
        ((key(1),), "INNODBKey-x-1", "has no key INNODBKey-x-1"),
        ((), "INNODBKey-x-1", "has no key INNODBKey-x-1"),
    ],
)
def test_one_that_can_not_serve(tmp_path: Path, keys: tuple[MasterKey, ...], wanted: str | None, said: str) -> None:
    with pytest.raises(KeyringFailed, match=said):
        CloneKeyring(tmp_path / "home", file=ring(tmp_path / "mine", *keys), key=wanted).check()


def test_what_can_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyringFailed, match="is not there"):
        read_keyring(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(KeyringFailed, match="Is a directory"):
        read_keyring(tmp_path)
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(KeyringFailed, match="is no regular file"):
            read_keyring(path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(KeyringFailed, match="Too many levels of symbolic links"):
        read_keyring(tmp_path / "loop")
    (tmp_path / "x").write_text("x" * 10)
    with pytest.raises(KeyringFailed, match="no keyring file"):
        read_keyring(tmp_path / "x")
    monkeypatch.setattr(keyring, "LARGEST", 9)
    with pytest.raises(KeyringFailed, match="larger than any"):
        read_keyring(tmp_path / "x")


def test_one_that_a_server_could_not_write(tmp_path: Path) -> None:
    """It writes another file first."""
    mine = tmp_path / "mine"
    ring(tmp_path / "mine.backup", key(1))
    for content in (b"", b"{"):
        mine.write_bytes(content)
        with pytest.raises(KeyringFailed, match=r"mine\.backup is there: a server was cut off"):
            CloneKeyring(tmp_path / "home", file=mine).check()


def test_a_copy(tmp_path: Path) -> None:
    old = ring(tmp_path / "old", key(1), key(2, OTHER))
    copy = CloneKeyring(tmp_path / "home")
    copy.copy(old, key(1).name)
    assert copy.path == tmp_path / "home" / "old"
    assert copy.path.read_bytes() == old.read_bytes()
    assert (mode(copy.path), copy.master()) == (0o600, key(1))
    old.write_bytes(serialize_keyring(key(1)))
    again = CloneKeyring(tmp_path / "home")  # of a directory that was removed: its keyring is there
    again.copy(old, key(1).name)
    assert again.path == tmp_path / "home" / "old.1"
    assert again.path.read_bytes() == old.read_bytes() != copy.path.read_bytes()
    again.discard()
    assert [*(tmp_path / "home").iterdir()] == [copy.path]


def killed_in(step: str, home: Path, generation: Path | None = None) -> None:
    """Have a process make a keyring and be killed when it comes to a function of the module, or of `os`."""
    if (child := os.fork()) == 0:
        try:
            owner = keyring if hasattr(keyring, step) else CloneKeyring if hasattr(CloneKeyring, step) else os
            setattr(owner, step, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
            CloneKeyring(home, generation=generation).master()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("step", ["write_all", "_note", "link"])
def test_nothing_is_left_of_one_whose_maker_was_killed(tmp_path: Path, step: str) -> None:
    fd, beside = keyring._nameless(tmp_path / "x")
    os.close(fd)
    if beside is not None:
        pytest.skip("no file without a name here")
    killed_in(step, tmp_path / "home")
    assert [*(tmp_path / "home").iterdir()] == []


def test_where_a_file_must_have_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed process left is known by the generation's note, as soon as that is written."""
    monkeypatch.setattr(keyring, "_DESCRIPTORS", str(tmp_path / "nothing"))
    generation = tmp_path / "series" / "2026-01-01T00-00-00Z"
    (generation / "#innoclone").mkdir(parents=True)
    home = keyring_home(generation.parent)
    killed_in("link", home, generation)
    [left] = home.iterdir()
    assert mode(left) == 0o600
    noted = noted_keyring(generation)
    assert noted is not None
    assert (noted.beside, noted.path.exists()) == (left, False)
    assert noted.remove()
    made = CloneKeyring(home, generation=generation)
    master = made.master()
    assert made.path is not None
    assert [*home.iterdir()] == [made.path]
    assert read_keyring(made.path) == {master.name: master}


def test_what_nobody_can_look_at_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyringFailed, match="File name too long"):
        CloneKeyring(tmp_path / "home", known=(tmp_path / ("x" * 300), key(1).name)).check()
    old = ring(tmp_path / "old", key(1))
    monkeypatch.setattr(Path, "read_bytes", mock.Mock(side_effect=OSError(errno.EIO, "Input/output error")))
    with pytest.raises(FileError, match=r"can't read .*old: Input/output error"):
        CloneKeyring(tmp_path / "home").copy(old, key(1).name)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("how", ["master", "copy"])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    old = ring(tmp_path / "old", key(1))
    monkeypatch.setattr(keyring, "write_all", full)
    made = CloneKeyring(tmp_path / "home")
    with pytest.raises(DiskFull, match="can't make the keyring"):
        made.master() if how == "master" else made.copy(old, key(1).name)
    assert [*(tmp_path / "home").iterdir()] == []


def test_one_that_can_not_be_given_away(tmp_path: Path) -> None:
    made = CloneKeyring(tmp_path / "home")
    made.give(tmp_path)  # nothing was made
    made.master()
    if os.geteuid() == 0:
        with pytest.raises(FileError, match="can't give the keyring"):
            made.give(tmp_path / "nothing")
    assert issubclass(KeyringFailed, CloneError)


def test_the_folder_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    CloneKeyring(keyring_home(tmp_path / "clone")).master()
    assert is_keyring_home(tmp_path / "clone.keyring")
    for name, content in (("a.keyring", b""), ("b.keyring", b"{"), ("c", serialize_keyring(key(1)))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(content)
        assert not is_keyring_home(tmp_path / name)


def test_what_a_server_finds_it_by(tmp_path: Path) -> None:
    files = local_configuration(tmp_path / "ring")
    assert sorted(files) == ["component_keyring_file.cnf", "mysqld.my"]
    manifest = {ENCRYPTION: {"keyring": str(tmp_path / "ring")}}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        assert is_configuration(tmp_path / name, manifest)
        assert not is_configuration(tmp_path / name, {})
        (tmp_path / name).write_text(content + " ")
        assert not is_configuration(tmp_path / name, manifest)
    (tmp_path / "other").write_text(content)
    assert not is_configuration(tmp_path / "other", manifest)
    assert not is_configuration(tmp_path / "nothing", manifest)


def test_what_an_unfinished_generation_tells_of_its_own(tmp_path: Path) -> None:
    """It is known before it has its name; a copy of the generation has none, and what was written to stays."""
    generation = tmp_path / "series" / "2026-01-01T00-00-00Z"
    (generation / "#innoclone").mkdir(parents=True)
    assert noted_keyring(generation) is None
    home = keyring_home(generation.parent)
    made = CloneKeyring(home, generation=generation)
    made.master()
    noted = noted_keyring(generation)
    assert noted is not None
    assert noted.path == made.path
    shutil.copytree(generation, copy := generation.with_name("copy"))
    assert noted_keyring(copy) is None
    assert noted.remove()
    assert not [*home.iterdir()]
    assert not noted.remove()
    noted.path.write_bytes(b"another's")
    assert not noted.remove()
    note = generation / "#innoclone" / "keyring.json"
    for wrong in ("", "[]", "{}", note.read_text().replace(str(home), str(tmp_path))):
        note.write_text(wrong)
        assert noted_keyring(generation) is None


def test_one_that_a_server_wrote_to_is_not_the_generations_any_more(tmp_path: Path) -> None:
    generation = tmp_path / "series" / "2026-01-01T00-00-00Z"
    (generation / "#innoclone").mkdir(parents=True)
    made = CloneKeyring(keyring_home(generation.parent), generation=generation)
    made.master()
    assert made.path is not None
    noted = noted_keyring(generation)
    os.utime(made.path, (1, 1))
    assert noted is not None
    assert not noted.remove()
    assert made.path.exists()
    CloneKeyring(tmp_path, file=tmp_path / "mine", generation=generation).master()
    assert noted_keyring(generation) == noted, "one of the user's isn't told of"
