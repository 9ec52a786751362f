"""The lock on a clone's directory: who has it, who is refused, who may end what is done under it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from innoclone.errors import FileError, TargetBusy
from innoclone.files import lock as module
from innoclone.files.lock import LOCK, Holder, holder_at, holder_of, request_stop, stop_is_wished, take_lock
from made_clones import LIKE_US, locked


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "#innoclone"
    folder.mkdir()
    return folder


@contextmanager
def taken(own: Path) -> Iterator[int]:
    descriptor = take_lock(own, own.parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_only_one_has_it_and_the_next_is_told_who(own: Path) -> None:
    assert holder_of(own.parent) is None
    with locked(own, LIKE_US) as pid:
        holder = holder_of(own.parent)
        assert holder is not None
        assert (holder.pid, holder.host, holder.is_here) == (pid, socket.gethostname(), True)
        assert abs(holder.started - time.time()) < 600
        with pytest.raises(TargetBusy, match=f"process {pid} \\(started 2.*\\) is working on {own.parent}") as caught:
            take_lock(own, own.parent)
        assert caught.value.advice == f"wait for it, or: innoclone stop {own.parent}"
    assert holder_of(own.parent) is None, "the kernel takes it from a process that was killed"
    with taken(own), pytest.raises(TargetBusy, match=f"process {os.getpid()} "):
        take_lock(own, own.parent)  # the same process, too
    with taken(own):
        pass


def test_who_has_ended_is_not_here_any_more() -> None:
    """Also while nobody asks how: in a container that may be for good."""
    with subprocess.Popen(["sleep", "60"]) as child:
        holder = Holder(child.pid, module._start_ticks(child.pid), 0.0, socket.gethostname())
        assert holder.is_here
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not holder.is_here


def test_a_look_takes_nothing(own: Path) -> None:
    with taken(own):
        pass
    for _ in range(3):
        assert holder_of(own.parent) is None
        with taken(own):
            assert holder_of(own.parent) is not None


def test_a_lock_whose_file_was_removed_is_taken_anew(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who held it before removes the clone, and the file, between our opening and our lock; another one begins."""
    is_at, tries = module._is_at, 0

    def late(descriptor: int, path: Path) -> bool:
        nonlocal tries
        tries += 1
        if tries == 1:
            path.unlink()
        elif tries == 2:
            path.unlink()
            path.touch()
        return is_at(descriptor, path)

    monkeypatch.setattr(module, "_is_at", late)
    with taken(own) as descriptor:
        assert tries == 3
        assert os.path.samestat(os.fstat(descriptor), (own / LOCK).stat())
        assert holder_of(own.parent) is not None


def test_a_failure_gives_the_lock_back(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when the holder's name is to be written."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            take_lock(own, own.parent)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with taken(own):
        pass
    with pytest.raises(FileNotFoundError):
        take_lock(own / "missing", own)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_locks_its_owner_can_lock_later(own: Path) -> None:
    os.chown(own, 65534, 65534)
    with taken(own):
        state = (own / LOCK).stat()
    assert (state.st_uid, state.st_gid) == (65534, 65534)


def test_another_user_gives_nothing_away(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "fchown", lambda *_: pytest.fail("not allowed"))
    with taken(own):
        assert holder_of(own.parent) is not None


def test_where_nothing_can_be_seen(own: Path) -> None:
    """No lock where there is no file; an error where there is something that can't be opened."""
    assert holder_of(own / "missing") is None
    (own / "file").touch()
    assert holder_at(own / "file" / LOCK) is None
    (own / LOCK).symlink_to(LOCK)
    with pytest.raises(FileError, match="can't look at"):
        holder_of(own.parent)


def test_the_end_of_one_holding_is_wished(own: Path) -> None:
    with taken(own) as descriptor:
        assert not stop_is_wished(descriptor)
        holder = holder_of(own.parent)
        assert holder is not None
        assert request_stop(own, holder)
        assert request_stop(own, holder)
        assert stop_is_wished(descriptor)
        assert (own / LOCK).read_text().count("stop ") == 1, "a second wish adds nothing"
        assert holder_of(own.parent) == holder
    with taken(own) as descriptor:
        assert not stop_is_wished(descriptor), "that was for the one before"
        assert request_stop(own, holder)
        assert not stop_is_wished(descriptor), "nor does an old wish that comes late end it"


def test_nothing_is_wished_of_whom_the_file_does_not_tell(own: Path) -> None:
    (own / LOCK).write_text("")
    assert not request_stop(own, Holder())
    assert (own / LOCK).read_text() == ""
    with (own / LOCK).open("r+b") as file:
        assert not stop_is_wished(file.fileno())


def test_a_wish_follows_no_link(own: Path, tmp_path: Path) -> None:
    """Root's wish is written into a file that a user made: not into one that a link leads to."""
    (tmp_path / "passwd").write_text("of somebody")
    (own / LOCK).symlink_to(tmp_path / "passwd")
    with pytest.raises(OSError, match="symbolic links"):
        request_stop(own, Holder(pid=1, token="t"))
    assert (tmp_path / "passwd").read_text() == "of somebody"


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[]", "null", "{}", '{"pid": 1}', '{"pid": "x", "ticks": 1, "started": 1, "host": ""}']
)
def test_another_text_tells_of_nobody(text: str) -> None:
    assert Holder.parse(text) == Holder()
    assert str(Holder.parse(text)) == "another process"


def test_without_a_token_it_is_still_known() -> None:
    fields = {"pid": 1, "ticks": 2, "started": 3.0, "host": "h"}
    assert Holder.parse(json.dumps(fields) + "\nstop x\n") == Holder(1, 2, 3.0, "h")


def test_a_process_is_known_by_more_than_its_number() -> None:
    """A later one of the same number, and one on another host, are others."""
    me = Holder.this_process()
    assert me.is_here
    assert not replace(me, ticks=me.ticks - 1).is_here
    assert not replace(me, ticks=0).is_here
    assert not replace(me, host="elsewhere").is_here
    assert not replace(me, pid=1 << 30).is_here
    assert " on elsewhere " in str(replace(me, host="elsewhere"))
    assert f"process {os.getpid()} (started" in str(me)


def test_a_lock_that_nobody_can_read_is_still_one(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder is not known then."""
    with locked(own, LIKE_US):
        read = Path.read_text
        monkeypatch.setattr(
            Path, "read_text", lambda path, **more: (own / "missing").read_bytes() if path.name == LOCK
            else read(path, **more)
        )  # fmt: skip
        with pytest.raises(TargetBusy, match="another process is working on"):
            take_lock(own, own.parent)
