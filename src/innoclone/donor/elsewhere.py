"""Files of a stored clone outside its directory: proven to be the clone's, and told by the names that its donor has for
them.

A recipient is told absolute names, as a stock donor tells them: those that the clone's own donor had, because a server
that takes its data back, or another one of its kind, has these places in its innodb_directories. Where the clone has
them is nobody else's business.

What must not happen: a recipient, or a server on what it took, opens or replaces files of others on this host. A stock
recipient that replaces its own data puts a file of such a name aside, whosever it is (clone0apply.cc,
handle_existing_file); and a server that does not find a tablespace in its directories takes the path that the data
dictionary has, which is the clone's own, once a server has recovered it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from innoclone.donor.channel import Channel
from innoclone.donor.offer import Given
from innoclone.donor.places import is_plain
from innoclone.errors import FileInTheWay, TargetUnusable
from innoclone.files.inuse import Purpose, refuse_in_use
from innoclone.files.manifest import MANIFEST
from innoclone.files.names import OWN_DIR
from innoclone.files.outside import Outside
from innoclone.files.system import file_error
from innoclone.innodb.space import DICTIONARY_SPACE, SYSTEM_SPACE, is_undo
from innoclone.server import cloned
from innoclone.stream.pagecheck import ExpectedFile

__all__ = ["absolute_names", "names_elsewhere", "refuse_overwriting", "wanted_places"]

ANYWHERE = (("/", "/"),)  # as a mapping


def names_elsewhere(
    directory: Path, manifest: Mapping[str, Any], listed: Iterable[ExpectedFile], *, told: bool = False
) -> dict[str, str]:
    """The donor's names of the files of ``listed`` that are not in the directory, by their paths here. ``told``: where
    a server on it had its files is known otherwise.

    Raises `TargetUnusable` where one of them is not proven to be the clone's, and as the clone left it; `TargetBusy`
    where a server uses one; a file error.
    """
    listed = [one for one in listed if Path(one.name).is_absolute()]
    outside = [one.name for one in listed]
    if not outside:
        if not (told and cloned.was_kept(directory)):
            _refuse_forgotten(directory, manifest)
        return {}
    _refuse_changed(directory, manifest, f"tablespaces outside, as {outside[0]},")
    paths = [Path(name) for name in outside]
    proven = set(Outside.of_finished(directory, ANYWHERE).files)
    names = {str(row["path"]): str(row.get("name", "")) for row in manifest["files"]}
    try:
        written = (directory / OWN_DIR / MANIFEST).stat().st_mtime_ns
        for path in paths:
            if path not in proven:
                raise TargetUnusable(
                    f"{path} is not the file that the clone in {directory} made there", hint="clone once more"
                )
            if path.stat().st_mtime_ns > written:
                raise TargetUnusable(
                    f"{path} was written to after the clone in {directory} was finished",
                    hint="a server on a copy of the clone may have done that: clone once more",
                )
    except OSError as error:
        raise file_error(error, f"can't look at the files of {directory} that are outside") from error
    for one in listed:
        _refuse_odd(directory, one, names[one.name])
    refuse_in_use(directory, Purpose.LOOK, outside=paths)
    return {name: names[name] for name in outside}


def _refuse_forgotten(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Of a clone on which servers ran nothing is listed: what it has outside is not known."""
    if manifest.get("external_directories"):
        _refuse_changed(directory, manifest, f"tablespaces outside, in {manifest['external_directories'][0]},")


def _refuse_changed(directory: Path, manifest: Mapping[str, Any], has: str) -> None:
    if cloned.was_kept(directory) or cloned.was_changed(directory, manifest):
        raise TargetUnusable(
            f"{directory} has {has} and a server has run on it: nothing says what belongs to it now",
            hint="start that server, and serve it with --live; or shut it down, and name its innodb_directories with"
            " --innodb-directories",
        )


def _refuse_odd(directory: Path, file: ExpectedFile, name: str) -> None:
    """A name that no stock donor tells of such a tablespace."""
    if not is_plain(name) or file.space_id in (SYSTEM_SPACE, DICTIONARY_SPACE) or is_undo(file.space_id):
        raise TargetUnusable(f"the manifest of {directory} has a name that is none of a tablespace's: {name!r}")


def absolute_names(files: Iterable[tuple[str, int]]) -> list[Path]:
    """Of names and space ids of files those names that a recipient takes as they are."""
    return [
        Path(name) for name, space_id in files
        if Path(name).is_absolute() and space_id != SYSTEM_SPACE and not is_undo(space_id)
    ]  # fmt: skip


def wanted_places(files: Iterable[tuple[str, int]]) -> list[str]:
    """What a recipient must have in its innodb_directories, of names and space ids of files: the outermost folders."""
    folders = sorted({str(path.parent) for path in absolute_names(files)})
    return [one for one in folders if not any(one != other and Path(one).is_relative_to(other) for other in folders)]


def refuse_overwriting(given: Given, channel: Channel) -> None:
    """Raise `FileInTheWay` for a server of this host that would find files of others under absolute names. It has
    dropped nothing yet when it is told so."""
    if not channel.is_of_this_host:
        return
    for path in given.outside:
        if os.path.lexists(path):
            raise FileInTheWay(f"File '{path}' already exists: it is another server's or a clone's on this host")
