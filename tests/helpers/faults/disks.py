"""The target's disk fails: full, read-only, with I/O errors, after a loss of power; or the target itself goes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import time
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from faults.attempt import Attempt, Broken, Ended
from faults.kills import SIZE, Kills, allocated, operations
from faults.rounds import Round, Scenario
from innoclone.errors import CloneError, DiskFull, DiskSpace, FileError, TargetUnusable, TooManyOpenFiles

__all__ = ["Disks"]

MIB = 1 << 20
ROOM = 420 * MIB  # for a clone and the server that is booted on it
SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN: the file system ends at once, like that of a disk that is pulled out
WITHOUT_LOG = 2  # and what is not on the disk yet never gets there (EXT4_GOING_FLAGS_NOLOGFLUSH)
BOOT_ID = "/proc/sys/kernel/random/boot_id"
RATES = (0, 60, 100)  # MiB/s
ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EMFILE)
FAILING: set[type[CloneError]] = {DiskFull, FileError, DiskSpace, TargetUnusable, TooManyOpenFiles}


class Disks(Scenario):
    """``kinds`` say what happens to the disk."""

    name = "disk"
    kinds = (
        "full tmpfs", "full", "read-only", "I/O error", "loss of power", "overcommitted", "file too large",
        "failing operation", "removed", "renamed", "replaced",
    )  # fmt: skip
    _disks = ("full tmpfs", "full", "read-only", "I/O error", "loss of power", "overcommitted")
    _kills: Kills | None = None

    def missing(self, kind: str) -> str:
        """Only root can mount disks."""
        return "needs root" if kind in self._disks and os.geteuid() != 0 else ""

    def play(self, round_: Round, kind: str) -> None:
        """One failure, then the disk is mended, and the same command again until it is done."""
        with self._make_disk(round_, kind) as disk:
            if disk is not None:
                round_.move(disk.folder)
            with round_.perhaps_loaded(0.3):
                if isinstance(disk, Overcommitted):
                    self._overcommitted(round_, disk)
                elif isinstance(disk, Ext4) and kind == "loss of power":
                    self._loses_power(round_, disk)
                elif isinstance(disk, Ext4) and kind in ("read-only", "I/O error"):
                    self._fails(round_, disk)
                elif disk is not None:
                    self._full(round_, disk)
                elif kind == "file too large":
                    self._file_too_large(round_)
                elif kind == "failing operation":
                    self._failing_operation(round_)
                else:
                    self._goes(round_, kind)
                round_.complete()
            round_.assert_exact()

    def _make_disk(self, round_: Round, kind: str) -> contextlib.AbstractContextManager[Disk | None]:
        if kind not in self._disks:
            return contextlib.nullcontext()
        if kind == "full tmpfs":
            return Tmpfs(round_.folder / "disk")
        if kind == "overcommitted":
            return Overcommitted(round_.folder / "disk", round_.dice.randint(15, 90) * MIB)
        return Ext4(round_.folder / "disk", "remount-ro" if kind == "read-only" else "continue")

    # ---- what happens to the disk --------------------------------------------------------------------------

    def _full(self, round_: Round, disk: Disk) -> None:
        """Somebody else's file takes all room but a random rest."""
        rest = round_.dice.randrange(30 * MIB)
        with self._start(round_) as attempt:
            self._await_copying(round_, attempt)
            filler = disk.folder / "filler"
            take_room(filler, rest)
            round_.tell(f"the disk is full but for {rest} bytes")
            self._failed_or_done(round_, attempt)
            filler.unlink()

    def _fails(self, round_: Round, disk: Ext4) -> None:
        """It can't be written to any more, or not even be read."""
        with self._start(round_) as attempt:
            self._await_copying(round_, attempt)
            disk.fail()
            ended = round_.end(attempt, FAILING, look=False)
        disk.mend()
        self._look(round_, ended)

    def _loses_power(self, round_: Round, disk: Ext4) -> None:
        """What is not on the disk is lost; when the machine is up again it has another boot id."""
        for _ in range(round_.dice.randint(1, 2)):
            with self._start(round_, before=self._booted(round_)) as attempt:
                if round_.dice.random() < 0.15:
                    attempt.process.wait()  # it is lost right after the end
                self._await_copying(round_, attempt)
                time.sleep(round_.dice.uniform(0, 0.5))
                disk.shut_down()
                if round_.dice.random() < 0.7:
                    attempt.signal(signal.SIGKILL)
                ended = round_.end(attempt, FAILING, look=False)
            disk.mend()
            if ended.status == 0 and "--no-fsync" not in attempt.command and not round_.is_complete():
                raise Broken("what was complete is not any more")
            if ended.status == 0:
                if "--no-fsync" in attempt.command:  # nothing was promised
                    shutil.rmtree(round_.target, ignore_errors=True)
                return
            if round_.is_complete():
                return
            self._look(round_, ended)
        if round_.target.exists():
            with self._start(round_, before=self._booted(round_)) as attempt:
                if round_.end(attempt, set()).status:
                    raise Broken("it was killed")

    def _booted(self, round_: Round) -> list[str]:
        """A command that lets the program believe that the machine has been booted again."""
        name = round_.folder / f"boot-id-{uuid.UUID(int=round_.dice.getrandbits(128))}"
        name.write_text(f"{name.name[8:]}\n")
        return ["unshare", "--mount", "sh", "-c", f'mount --bind "{name}" {BOOT_ID} && exec "$@"', "sh"]

    def _overcommitted(self, round_: Round, disk: Overcommitted) -> None:
        """The file system has room, but the device below it has none: writes fail when they get there."""
        with self._start(round_) as attempt:
            ended = round_.end(attempt, FAILING, look=False)
        disk.mend()
        self._look(round_, ended)
        if ended.status == 0 and "--no-fsync" in attempt.command:
            shutil.rmtree(round_.target, ignore_errors=True)  # nothing was promised

    # ---- without a disk of its own -------------------------------------------------------------------------

    def _file_too_large(self, round_: Round) -> None:
        """A limit on the size of files (EFBIG)."""
        limit = round_.dice.randrange(MIB, 18 * MIB)
        with self._start(round_, before=["prlimit", f"--fsize={limit}"]) as attempt:
            self._failed_or_done(round_, attempt)

    def _failing_operation(self, round_: Round) -> None:
        """One operation on a file fails, or all from then on."""
        if self._kills is None:
            self._kills = Kills(self.world)
            self._kills._donor = self.donor
        at, number = round_.dice.randint(1, self._kills.count_operations(round_)), round_.dice.choice(ERRORS)
        lasting = round_.dice.choice([1, 1, 3, 0])
        round_.tell(f"operation {at} fails with {errno.errorcode[number]}, {lasting or 'all'} times")
        launcher = operations(round_.target, at, number, lasting)
        with round_.start(round_.options(), launcher=launcher) as attempt:
            round_.counts[f"{errno.errorcode[number]}"] += 1
            self._failed_or_done(round_, attempt)

    def _goes(self, round_: Round, kind: str) -> None:
        """The directory is removed or renamed, and perhaps another one comes into its place."""
        with self._start(round_) as attempt:
            if not self._await_copying(round_, attempt):
                round_.end(attempt, FAILING)
                return
            moved = round_.folder / "moved"
            with contextlib.suppress(OSError):
                round_.target.rename(moved)
            if kind == "removed":
                shutil.rmtree(moved)
            elif kind == "replaced":
                round_.target.mkdir()
                (round_.target / "mine").write_text("mine")
            ended = round_.end(attempt, FAILING)
        if kind == "replaced":
            if [path.name for path in round_.target.iterdir()] != ["mine"]:
                raise Broken("what came into the place of the target was written to")
            shutil.rmtree(round_.target)
        if ended.status == 0 and kind == "removed":
            return
        if kind != "removed" and not round_.target.exists() and moved.exists():
            moved.rename(round_.target)  # a complete one counts, of an unfinished one the rest is copied

    # ---- steps ---------------------------------------------------------------------------------------------

    def _start(self, round_: Round, before: list[str] | None = None) -> Attempt:
        return round_.start([*round_.options(rates=RATES), *round_.compression()], before=before or [])

    def _await_copying(self, round_: Round, attempt: Attempt) -> bool:
        """Until a random number of bytes was copied."""
        wanted = round_.dice.randrange(SIZE)
        return attempt.wait(lambda: allocated(round_.target) >= wanted)

    def _failed_or_done(self, round_: Round, attempt: Attempt) -> None:
        if round_.end(attempt, FAILING).status:
            round_.assert_refused()

    def _look(self, round_: Round, ended: Ended) -> None:
        round_.assert_nothing_outside()
        if ended.status:
            round_.assert_refused()


def take_room(path: Path, rest: int) -> None:
    """Write a file that leaves ``rest`` bytes of its file system."""
    with path.open("wb") as file:
        for _ in range(20):  # others write meanwhile
            free = shutil.disk_usage(path.parent).free - rest
            if free <= 0:
                return
            with contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free)


class Disk(ABC):
    """A mounted file system in ``folder``. Use it with ``with``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    @abstractmethod
    def mount(self) -> None:
        """Mount it."""

    def __enter__(self) -> Self:
        self.mount()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run("umount", "--lazy", self.folder)


class Tmpfs(Disk):
    """In memory."""

    def mount(self) -> None:
        run("mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", self.folder)


class Ext4(Disk):
    """On a loop device; ``errors`` is what the file system does about errors (ext4(5))."""

    def __init__(self, folder: Path, errors: str) -> None:
        super().__init__(folder)
        self._image = folder.with_suffix(".image")
        self._errors = errors

    def mount(self) -> None:
        if not self._image.exists():
            with self._image.open("wb") as file:
                file.truncate(ROOM)
            run("mkfs.ext4", "-q", "-F", "-m0", self._image)
        run("mount", "-o", f"loop,errors={self._errors}", self._image, self.folder)

    def shut_down(self) -> None:
        """From now on everything fails, and what was not written yet is lost."""
        fd = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", WITHOUT_LOG))
        finally:
            os.close(fd)

    def fail(self) -> None:
        """An error that makes the file system read-only, or the end of it."""
        if self._errors == "remount-ro":
            command = ["findmnt", "-no", "SOURCE", str(self.folder)]
            source = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            Path("/sys/fs/ext4", Path(source).name, "trigger_fs_error").write_text("1")
        else:
            self.shut_down()

    def mend(self) -> None:
        """Mount it again, checked."""
        run("umount", self.folder)
        subprocess.run(["e2fsck", "-fy", str(self._image)], capture_output=True, check=False)
        self.mount()


class Overcommitted(Ext4):
    """Its image lies on a smaller file system."""

    def __init__(self, folder: Path, room: int) -> None:
        super().__init__(folder, "continue")
        self._below = folder.with_suffix(".below")
        self._below.mkdir()
        self._image = self._below / "image"
        self._room = room

    def mount(self) -> None:
        if not self._image.exists():
            run("mount", "-t", "tmpfs", "-o", f"size={self._room}", "tmpfs", self._below)
        super().mount()

    def mend(self) -> None:
        """Give it the room that it says it has."""
        run("mount", "-o", f"remount,size={2 * ROOM}", self._below)
        super().mend()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        run("umount", "--lazy", self._below)


def run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True, stdin=subprocess.DEVNULL)
