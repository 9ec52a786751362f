"""Which files are missed of a clone that was booted."""

from __future__ import annotations

from pathlib import Path

import pytest

from innoclone.commands.options import VerifyOptions
from innoclone.commands.verify import verify
from innoclone.errors import VerifyFailed
from innoclone.files.manifest import read_manifest, update_manifest
from innoclone.verification import integrity
from restores import linked_clone


def test_what_recovery_has_ended(small_recovered: Path, tmp_path: Path) -> None:
    """Of a table that the dictionary doesn't name no file is missed; of all that it names each is."""
    clone = linked_clone(small_recovered, tmp_path / "clone")
    rows = read_manifest(clone)["files"]
    tables = [row for row in rows if row["path"].endswith(".ibd")]
    known = integrity._dictionary(clone, read_manifest(clone)).spaces
    assert known is not None
    assert {row["space_id"] for row in tables if (clone / row["path"]).exists()} <= known
    inner = next(row for row in tables if "/" in row["path"] and not row["path"].startswith("sys/"))
    gone = "fts_00000000000004d0_config.ibd"
    update_manifest(clone, files=[*rows, {**inner, "path": f"{Path(inner['path']).parent}/{gone}", "space_id": 77_777}])
    verify(VerifyOptions(clone))
    (clone / inner["path"]).unlink()
    with pytest.raises(VerifyFailed, match=rf"{inner['path']}: missing"):
        verify(VerifyOptions(clone))
    (clone / "#innoclone" / "private-server").write_text("cut off")  # now the dictionary may not tell all
    with pytest.raises(VerifyFailed, match=rf"{gone}: missing"):
        verify(VerifyOptions(clone))


def test_names_that_recovery_has_given_to_others(small_recovered: Path, tmp_path: Path) -> None:
    """As a rebuild of a table does, or a RENAME of several: right where the dictionary says so, and not else."""
    clone = linked_clone(small_recovered, tmp_path / "clone")
    rows = read_manifest(clone)["files"]
    inner = [row for row in rows if row["path"].endswith(".ibd") and "/" in row["path"]]
    one, other = inner[:2]
    before = [row for row in rows if row not in (one, other)]
    rebuilt = f"{Path(one['path']).parent}/#sql-ib1-2.ibd"
    # When the clone was made a table that is no more had the name, and the new one that of a DDL statement.
    update_manifest(clone, files=[*before, other, {**one, "path": rebuilt}, {**one, "space_id": 77_777}])
    verify(VerifyOptions(clone))
    # Each had the other's name.
    update_manifest(clone, files=[*before, {**one, "path": other["path"]}, {**other, "path": one["path"]}])
    verify(VerifyOptions(clone))
    update_manifest(clone, files=rows)
    verify(VerifyOptions(clone))
    (clone / one["path"]).rename(clone / "aside")
    (clone / other["path"]).rename(clone / one["path"])
    (clone / "aside").rename(clone / other["path"])
    with pytest.raises(VerifyFailed, match="another tablespace"):
        verify(VerifyOptions(clone))
