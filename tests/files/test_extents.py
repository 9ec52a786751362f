"""What files take on the disk, and what of it is shared."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from innoclone.files import extents as module
from innoclone.files.extents import Usage, file_system_of, regular_files, usage_of


def test_what_is_not_known_of_one_is_not_known_of_both() -> None:
    assert Usage(1, 2, 1) + Usage(10, 20, 10) == Usage(11, 22, 11)
    assert (Usage(1, 2, 1) + Usage(1, 2, None)).shared is None
    assert (Usage(1, 2, None) + Usage(1, 2, 1)).exclusive is None
    assert Usage(1, 20, 5).exclusive == 15
    assert Usage(1, 2, 5).exclusive == 0


def write_out(path: Path) -> None:
    """64 KiB that have their blocks on the disk."""
    with path.open("wb") as file:
        file.write(os.urandom(65536))
        file.flush()
        os.fsync(file.fileno())


def test_holes_take_nothing_and_hard_links_share_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(1 << 20)
    assert usage_of(path) == Usage(1 << 20, 0, 0)
    write_out(path)
    usage = usage_of(path)
    assert usage.size == 65536 <= usage.allocated
    assert usage.shared in (0, None)
    os.link(path, tmp_path / "second")
    assert usage_of(path) == Usage(65536, usage.allocated, usage.allocated)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError, match="symbolic links"):
        usage_of(tmp_path / "link")


Extent = tuple[int, int, int]  # logical, length, flags


def telling(*answers: list[Extent]) -> Callable[..., int]:
    """FIEMAP as the kernel answers it, one list a call."""
    waiting = list(answers)

    def ioctl(_: int, request: int, room: bytearray, mutate: bool) -> int:
        assert request == module.FS_IOC_FIEMAP
        assert mutate
        start, _, flags, _, most, _ = module.HEADER.unpack_from(room)
        found = waiting.pop(0)
        assert (flags, most) == (module.SYNC, module.AT_ONCE)
        assert not found or found[0][0] >= start
        module.HEADER.pack_into(room, 0, start, 0, 0, len(found), most, 0)
        for index, (logical, length, mark) in enumerate(found):
            at = module.HEADER.size + index * module.EXTENT.size
            module.EXTENT.pack_into(room, at, logical, 0, length, 0, 0, mark, 0, 0, 0)
        return 0

    return ioctl


@pytest.mark.parametrize(
    ("answers", "shared"),
    [([[]], 0), ([[(0, 4096, module.LAST)]], 0), ([[(0, 4096, module.LAST | module.SHARED)]], 4096),
     ([[(0, 4096, module.SHARED), (4096, 4096, 0)], [(8192, 8192, module.SHARED | module.LAST)]], 12288),
     ([[(0, 4096, module.SHARED)], []], 4096), ([[(0, 1 << 40, module.SHARED | module.LAST)]], 65536)],
)  # fmt: skip
def test_extents_that_others_use_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: list[list[Extent]], shared: int
) -> None:
    """Asked until the last one; never more than the file has."""
    path = tmp_path / "file"
    write_out(path)
    if path.stat().st_blocks * 512 != 65536:
        pytest.skip("this file system allocates otherwise")
    monkeypatch.setattr(fcntl, "ioctl", telling(*answers))
    assert usage_of(path).shared == shared


@pytest.mark.parametrize(("number", "told"), [(errno.EOPNOTSUPP, True), (errno.ENOTTY, True), (errno.EIO, False)])
def test_a_file_system_that_does_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: bool
) -> None:
    def fails(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "file"
    write_out(path)
    monkeypatch.setattr(fcntl, "ioctl", fails)
    if told:
        assert usage_of(path).shared is None
        return
    with pytest.raises(OSError, match="Input/output"):
        usage_of(path)


def test_regular_files_alone_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b/2", "a/1", "0", "gone"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("a")
    os.mkfifo(tmp_path / "pipe")
    lstat = Path.lstat

    def late(path: Path) -> os.stat_result:
        if path.name == "gone":
            path.unlink()
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", late)
    found = [str(path.relative_to(tmp_path)) for path, _ in regular_files(tmp_path)]
    assert found == ["0", "a/1", "b/2"]
    assert list(regular_files(tmp_path / "missing")) == []
    with pytest.raises(NotADirectoryError):
        list(regular_files(tmp_path / "0"))


def test_the_file_system_of_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert file_system_of(Path("/proc/self")) == "proc"
    assert file_system_of(tmp_path / "missing") == ""
    device = tmp_path.stat().st_dev
    here = f"{os.major(device)}:{os.minor(device)}"
    lines = ["1 0 0:99 / / rw - ext4 /dev/a rw", f"2 1 {here} / {tmp_path} rw - xfs /dev/b rw",
             f"3 1 0:98 / {tmp_path}er rw - btrfs /dev/c rw", "torn", "4 1 0:1 / / rw -"]  # fmt: skip
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "\n".join(lines))
    assert file_system_of(tmp_path) == "xfs"
    lines[1] = f"2 1 0:97 / {tmp_path} rw - btrfs /dev/b rw"
    assert file_system_of(tmp_path) == "btrfs", "whose device is another one than its files'"
    del lines[1]
    assert file_system_of(tmp_path) == "ext4"
