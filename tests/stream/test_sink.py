"""A donor's stream goes into a sink that is no directory, can't overwrite and can't be read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostile import PAGE, REDO, Donor, Peer, Source, small_files
from innoclone.errors import BadPage, EncryptionDamaged, SnapshotGone
from innoclone.innodb.redo import FILE_HEADER_SIZE
from innoclone.receive.resume import Resumable
from innoclone.records.chunks import Found
from innoclone.records.status import CloneStatus, Stage
from innoclone.wire.descriptors import DataDescriptor, StageNumber
from objects import Objects
from receiving import receive_into

KEY = bytes(1024 + 48) + b"lCC"  # where and how a redo file's header has an encryption key


class WholeRedo(Donor):
    """Sends the header of its redo file, too."""

    head = bytes(FILE_HEADER_SIZE)

    def _copy(self, stage: StageNumber, peer: Peer, task: int) -> None:
        if stage is not StageNumber.REDO_COPY:
            super()._copy(stage, peer, task)
        elif not task:
            self._send(peer, DataDescriptor(stage, task, 1, 0, 0, 0, 0, 0), self.head + REDO)


def damaged(page: int) -> list[Source]:
    """The table with one bit flipped in one page; page 2 comes again."""
    files = small_files()
    content = bytearray(files[3].content)
    content[page * len(PAGE) + 1000] ^= 1
    files[3].content = bytes(content)
    return files


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("verify", [True, False])
def test_all_of_it_arrives_once(tmp_path: Path, workers: int, verify: bool) -> None:
    objects, status = Objects(tmp_path / "folder"), CloneStatus()
    with WholeRedo(workers=workers) as donor:
        received = receive_into(objects, donor.endpoint, threads=workers + 1, verify_pages=verify, status=status)
    assert objects.started == 1
    for file in donor.files:
        content = objects.parts[Path("clone") / file.name].content()
        if file.name == "./db/t.ibd":
            assert objects.parts[Path("clone") / file.name].overlay == [(2 * len(PAGE), PAGE)]
            assert content[2 * len(PAGE) : 3 * len(PAGE)] == PAGE
            content = content[: 2 * len(PAGE)] + file.content[2 * len(PAGE) : 3 * len(PAGE)] + content[3 * len(PAGE) :]
        assert content == file.content
    redo = objects.parts[Path("redo/0")].content()
    assert redo == WholeRedo.head + REDO + bytes(65536 - FILE_HEADER_SIZE - len(REDO))
    assert status.stages[Stage.FILE_COPY].data == sum(len(file.content) for file in donor.files)
    assert len(received.table.all_files()) == len(objects.parts)


def test_a_torn_page_comes_again_whole(tmp_path: Path) -> None:
    with Donor(damaged(2)) as donor:
        receive_into(Objects(tmp_path / "folder"), donor.endpoint, threads=1)


def test_a_page_that_stays_damaged_is_found_without_a_second_look(tmp_path: Path) -> None:
    with Donor(damaged(1)) as donor, pytest.raises(BadPage, match=r"db/t\.ibd page 1"):
        receive_into(Objects(tmp_path / "folder"), donor.endpoint, threads=1)


def test_a_key_in_the_redo_log_is_seen_as_it_passes(tmp_path: Path) -> None:
    donor = WholeRedo()
    donor.head = KEY + bytes(FILE_HEADER_SIZE - len(KEY))
    with donor, pytest.raises(EncryptionDamaged, match="does not agree"):
        receive_into(Objects(tmp_path / "folder"), donor.endpoint, threads=1)


def test_what_cannot_be_proven_is_not_gone_on_with(tmp_path: Path) -> None:
    left = Resumable(
        root=tmp_path, begin={}, events=[], stage=StageNumber.FILE_COPY, start={}, ended=False, crashed=False,
        found=Found(StageNumber.FILE_COPY, 1),
    )  # fmt: skip
    with pytest.raises(SnapshotGone, match="can't be read"):
        left.state(Objects(tmp_path / "folder"), CloneStatus(), verify=True, threads=1)
