"""The keyring of a clone: a file with the master key that its tablespaces' keys are wrapped with.

It lies beside the clone, not in it: who gets hold of the directory alone, a backup medium or a copy, has no key. Each
file is made once (0600 from its first byte, without a name until it is whole), and never written again by us: a
server on the clone adds its keys to it, and copies of the clone may need it. So it isn't removed either, unless this
run made it and the clone came to nothing, or it was made for a generation that was never finished and is removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from innoclone.errors import KeyringFailed
from innoclone.files.names import OWN_DIR, OWN_KEYRING
from innoclone.files.ownership import give
from innoclone.files.system import file_error, sync_directory, write_all
from innoclone.innodb.encryption import MasterKey
from innoclone.innodb.keyring import parse_keyring, serialize_keyring

__all__ = [
    "COMPONENT", "COMPONENT_LIST", "ENCRYPTION", "SUFFIX", "CloneKeyring", "Noted", "is_configuration",
    "is_keyring_home", "keyring_home", "local_configuration", "noted_keyring", "read_keyring",
]  # fmt: skip

COMPONENT = "component_keyring_file"
COMPONENT_LIST = "mysqld.my"
ENCRYPTION = "encryption"  # in the manifest of a clone with anything encrypted
SUFFIX = ".keyring"
FOLDER_MODE, FILE_MODE = 0o700, 0o600
LARGEST = 16 << 20  # bytes of a keyring file
_DESCRIPTORS = "/proc/self/fd"


def keyring_home(directory: Path) -> Path:
    """The folder beside ``directory`` in which keyrings of clones there lie."""
    return directory.with_name(directory.name + SUFFIX)


def is_keyring_home(folder: Path) -> bool:
    """Whether a folder is one of those: by its name, and by what is in it. Raises OSError."""
    if not folder.name.endswith(SUFFIX):
        return False
    files = [path for path in folder.iterdir() if path.is_file() and not path.is_symlink()]
    try:
        keys = [name for path in files for name in read_keyring(path)]
    except KeyringFailed:
        return False
    return bool(keys)


def read_keyring(path: Path) -> dict[str, MasterKey]:
    """InnoDB's master keys in a keyring file, by name. Raises `KeyringFailed`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would be waited for
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise KeyringFailed(f"the keyring {path} is no regular file")
            content = file.read(LARGEST + 1)
    except FileNotFoundError as error:
        raise KeyringFailed(f"the keyring {path} is not there") from error
    except OSError as error:
        raise KeyringFailed(f"can't read the keyring {path}: {error.strerror}") from error
    if len(content) > LARGEST:
        raise KeyringFailed(f"{path} is larger than any keyring")
    try:
        return parse_keyring(content)
    except ValueError as error:
        raise KeyringFailed(f"can't read the keyring {path}: {error}{_backup(path)}") from None


def local_configuration(keyring: Path) -> dict[str, str]:
    """Files for a data directory by name. A server reads them if those of their names beside its program and among its
    plugins say so (``read_local_manifest``, ``read_local_config``)."""
    components, settings = {"components": f"file://{COMPONENT}"}, {"path": str(keyring), "read_only": False}
    return {COMPONENT_LIST: json.dumps(components) + "\n", f"{COMPONENT}.cnf": json.dumps(settings) + "\n"}


def is_configuration(path: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether a file of a clone's directory is one of those, as the clone was given it. Raises OSError."""
    entry = manifest.get(ENCRYPTION)
    if not isinstance(entry, dict) or not path.is_file() or path.is_symlink():
        return False
    return path.read_text(errors="replace") == local_configuration(Path(str(entry.get("keyring")))).get(path.name)


class Noted(NamedTuple):
    """A keyring file as it was when it was made for a clone: by these it is known to be that one, and not written."""

    path: Path
    beside: Path  # the name that it has until it is whole; its own where a file needs none until then
    inode: int
    mtime: int  # nanoseconds since the epoch

    def remove(self) -> bool:
        """Remove it where it is the very file; whether anything was."""
        gone = False
        for path in (self.path, self.beside):
            with contextlib.suppress(OSError):
                now = path.lstat()
                if (now.st_ino, now.st_mtime_ns) == (self.inode, self.mtime):
                    path.unlink()
                    gone = True
        return gone


def noted_keyring(directory: Path) -> Noted | None:
    """What an unfinished generation tells of the keyring that was made for it; None if none was, or if it is a copy:
    the keyring is its original's."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        note = json.loads((directory / OWN_DIR / OWN_KEYRING).read_text())
        home = keyring_home(directory.resolve().parent)
        if Path(note["home"]) == home and note["of"] == directory.stat().st_ino:
            name, beside = Path(note["name"]).name, Path(note["beside"]).name
            return Noted(home / name, home / beside, int(note["inode"]), int(note["mtime"]))
    return None


class CloneKeyring:
    """Where the master key of one clone is, or will be: it is made, or read, when the first encrypted file comes.

    With ``file`` a keyring of the user's: one that is there is read and gives its key ``key``, or the newest if it has
    those of one server; else a new one is made there. Without it a new file is made in ``home``, unless ``known`` (path
    and key's name) tells of an earlier clone's that can still be read. Several connections may ask at a time.
    """

    def __init__(
        self, home: Path, *, file: Path | None = None, key: str | None = None, known: tuple[Path, str] | None = None,
        is_anothers: bool = False, generation: Path | None = None,
    ) -> None:  # fmt: skip
        """``is_anothers``: the earlier clone stays, so that this one gets a file of its own with the same key.
        ``generation``: the clone's directory, if it is to be one and has begun: it notes which file is made for it."""
        self._is_anothers, self._generation = is_anothers, generation
        self._home, self._file, self._key, self._known = home, file, key, known
        self._lock = threading.Lock()
        self._master: MasterKey | None = None
        self._made: tuple[Path, os.stat_result] | None = None
        self.path: Path | None = None

    @property
    def in_use(self) -> bool:
        """Whether anything was encrypted."""
        return self._master is not None

    def check(self) -> None:
        """Raise `KeyringFailed` at once where a keyring that the user named, or an earlier clone's, can't serve."""
        if self._file is not None and (self._key is not None or self._file.exists()):
            _choose(self._file, self._key)
        elif self._file is None:
            self._earlier()

    def _earlier(self) -> MasterKey | None:
        """The earlier clone's key; None if there was none, or its keyring is gone and that clone lost with it.

        Raises `KeyringFailed` where the file is there: with another key in its place, what only it opens would be
        forgotten before anybody has seen that something is wrong.
        """
        if self._known is None or _is_gone(self._known[0]):
            return None
        path, name = self._known
        try:
            return _choose(path, name)
        except KeyringFailed as error:
            error.advice = "it is the earlier clone's: mend it, or name another file with --keyring for a new key"
            raise

    def take(self, path: Path, name: str) -> None:
        """Use the key ``name`` of ``path`` and no other: a clone goes on. Raises `KeyringFailed`."""
        found = _choose(path, name)
        with self._lock:
            self._master, self.path = found, path

    def master(self) -> MasterKey:
        """The key. Raises `KeyringFailed`, a file error."""
        with self._lock:
            if self._master is None:
                self._master = self._find()
            return self._master

    def prove(self) -> None:
        """Raise `KeyringFailed` where the file has not the key any more, which it had when the key was first used: a
        clone without it is lost."""
        assert self._master is not None, "it is in use"
        assert self.path is not None, "it is in use"
        try:
            if _choose(self.path, self._master.name) != self._master:
                raise KeyringFailed(f"{self._master.name} in the keyring {self.path} is another key by now")
        except KeyringFailed as error:
            error.advice = "it was removed or replaced while the clone was made: bring it back, and say the same again"
            raise

    def _find(self) -> MasterKey:
        if self._file is not None and (self._key is not None or self._file.exists()):
            self.path = self._file
            return _choose(self._file, self._key)
        if self._file is None and self._known is not None and (known := self._earlier()) is not None:
            if self._is_anothers:
                self._make_free(known.uuid, serialize_keyring(known))
            else:
                self.path = self._known[0]
            return known
        master = MasterKey(str(uuid4()), 1, secrets.token_bytes(32))
        self.path = self._file or self._home / master.uuid
        try:
            self._make(self.path, serialize_keyring(master))
        except OSError as error:
            raise file_error(error, f"can't make the keyring {self.path}") from error
        return master

    def _make(self, path: Path, content: bytes) -> None:
        """A new file, whole from the moment when it has its name, and never in another one's place."""
        if self._file is None and not path.parent.is_dir():
            path.parent.mkdir(mode=FOLDER_MODE)
            sync_directory(path.parent.parent)
        fd, beside = _nameless(path)
        try:
            write_all(fd, content, 0)
            os.fsync(fd)
            self._note(path, beside, os.fstat(fd))
            _give_name(fd, beside, path)
            self._made = path, os.fstat(fd)
        finally:
            os.close(fd)
            if beside is not None:
                beside.unlink()
        sync_directory(path.parent)

    def _note(self, path: Path, beside: Path | None, state: os.stat_result) -> None:
        """Before the file has its name, so that it is known what a run made that was killed."""
        if self._generation is not None and self._file is None:
            note = {
                "of": self._generation.stat().st_ino, "home": str(path.parent), "name": path.name,
                "beside": (beside or path).name, "inode": state.st_ino, "mtime": state.st_mtime_ns,
            }  # fmt: skip
            (self._generation / OWN_DIR / OWN_KEYRING).write_text(json.dumps(note) + "\n")

    def copy(self, source: Path, name: str) -> None:
        """A file of its own for a copy of a clone: all that is in ``source``, of which ``name`` is the clone's key.

        Raises `KeyringFailed`, a file error.
        """
        master = _choose(source, name)
        try:
            content = source.read_bytes()
        except OSError as error:
            raise file_error(error, f"can't read {source}") from error
        self._make_free(source.name, content)
        self._master = master

    def _make_free(self, name: str, content: bytes) -> None:
        """A new file under a name that is free: one that is there belongs to what was here before, or to a copy."""
        number = 0
        while True:
            self.path = self._home / (f"{name}.{number}" if number else name)
            try:
                self._make(self.path, content)
                return
            except FileExistsError:
                number += 1
            except OSError as error:
                raise file_error(error, f"can't make the keyring {self.path}") from error

    def discard(self) -> None:
        """The clone came to nothing: what this run made goes, while it is the very file, which no server has used."""
        if self._made is None:
            return
        path, made = self._made
        with contextlib.suppress(OSError):
            now = path.lstat()
            if (now.st_dev, now.st_ino, now.st_size) == (made.st_dev, made.st_ino, made.st_size):
                path.unlink()
            if self._file is None:
                path.parent.rmdir()  # unless there are others

    def give(self, clone: Path) -> None:
        """What was made belongs to whom the clone does, who shall run a server on it. Raises a file error."""
        if self._made is None:
            return
        path = self._made[0]
        try:
            for one in (path, *([path.parent] if self._file is None else [])):
                give(one, clone)
        except OSError as error:
            raise file_error(error, f"can't give the keyring {path} away") from error


def _nameless(path: Path) -> tuple[int, Path | None]:
    """Open a new file for ``path`` that has no name yet, so that nothing is left of it if we are killed; where the file
    system can't do that (NFS), or there is no /proc, one of another name beside it. Raises OSError."""
    flags = os.O_WRONLY | os.O_CLOEXEC
    if Path(_DESCRIPTORS).is_dir():
        with contextlib.suppress(OSError):  # whatever else is wrong, the other way tells
            return os.open(path.parent, flags | os.O_TMPFILE, FILE_MODE), None
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    return os.open(beside, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE), beside


def _give_name(fd: int, beside: Path | None, path: Path) -> None:
    """Name a file of `_nameless`. Raises FileExistsError, OSError."""
    if beside is not None:
        os.link(beside, path)
        return
    folder = os.open(_DESCRIPTORS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(str(fd), path, src_dir_fd=folder, follow_symlinks=True)  # open(2), O_TMPFILE
    finally:
        os.close(folder)


def _is_gone(path: Path) -> bool:
    """Whether it is certain that nothing is there."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _backup(path: Path) -> str:
    """What is said where a server has left the copy that it makes before it writes a keyring anew."""
    beside = path.with_name(f"{path.name}.backup")
    return f"; {beside} is there: a server was cut off, or could not write the keyring" if beside.exists() else ""


def _choose(path: Path, name: str | None) -> MasterKey:
    """The key of that name; without a name the newest, where all are of one server. Raises `KeyringFailed`."""
    keys = read_keyring(path)
    if name is not None:
        if name not in keys:
            raise KeyringFailed(f"the keyring {path} has no key {name} of InnoDB's", hint=_told(keys))
        return keys[name]
    if not keys:
        raise KeyringFailed(
            f"the keyring {path} has no master key of InnoDB's{_backup(path)}",
            hint="name one that a server with encrypted tables has used, or a file that is not there: it is made then",
        )
    if len({key.uuid for key in keys.values()}) > 1:
        raise KeyringFailed(
            f"the keyring {path} has master keys of several servers", hint=f"--keyring-key: {_told(keys)}"
        )
    return max(keys.values(), key=lambda key: key.number)


def _told(keys: dict[str, MasterKey]) -> str:
    return f"it has {', '.join(sorted(keys)[:8])}" if keys else "it has none"
