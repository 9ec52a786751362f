"""Clones over the network that leave an earlier one whole: its successor beside it, and dated ones."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from broken_off import break_off, copied
from innoclone.commands.clone import CloneResult
from innoclone.commands.networkclones import clone_over_network
from innoclone.commands.options import CloneOptions
from innoclone.errors import CloneError
from innoclone.files.generations import generations_of
from innoclone.files.marks import is_unfinished
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs
from innoclone.transport.endpoint import Endpoint, SslMode
from local_clones import booted_copy, checksums
from restores import contents
from servers import endpoint_of
from serving import assert_taken, endpoint, served


def take(donor: Endpoint, directory: Path, **options: object) -> CloneResult:
    return clone_over_network(CloneOptions(donor=donor, directory=directory, **options))  # type: ignore[arg-type]


def older(clone: Path, to: Path) -> Path:
    """A clone of the same donor with some pages of other content."""
    subprocess.run(["cp", "-a", str(clone), str(to)], check=True)
    path = to / "theirs" / "t.ibd"
    data = bytearray(path.read_bytes())
    for at in range(10 * 16384, len(data), 50 * 16384):
        data[at + 100 : at + 200] = bytes(100)
    path.write_bytes(data)
    return to


@pytest.mark.parametrize("stock", [False, True])
def test_the_base_stays_whole_until_its_successor_is(
    stock: bool, small_donor: Server, small_clone: Path, programs: Programs, tmp_path: Path
) -> None:
    """Whether the donor sends an increment or everything."""
    directory = older(small_clone, tmp_path / "clone")
    before, inode = contents(directory), directory.stat().st_ino
    with served(small_clone, tmp_path) as donor:
        where = endpoint_of(small_donor, ssl_mode=SslMode.DISABLED) if stock else endpoint(donor.port)
        if not stock:
            with pytest.raises(CloneError):
                take(where, directory, keep_base=True, mysqld=Path("/nowhere"), boot=True)
            assert contents(directory) == before
        result = take(where, directory, keep_base=True)
        assert result.incremental is not stock
        assert directory.stat().st_ino != inode
        assert not directory.with_name("clone.innoclone-new").exists()
        if not stock:
            assert_taken(donor.source, directory)  # type: ignore[arg-type]
            assert result.network < donor.source.size / 4  # type: ignore[attr-defined]
    with booted_copy(programs, directory) as server:
        assert checksums(server) == checksums(small_donor)


def test_a_successor_that_was_broken_off(small_clone: Path, tmp_path: Path) -> None:
    """The base is untouched, and the next run goes on with what is there."""
    directory = older(small_clone, tmp_path / "clone")
    before = contents(directory)
    with served(small_clone, tmp_path) as donor:
        break_off(
            endpoint(donor.port), directory, copied(1), run=clone_over_network, keep_base=True, threads=1,
            max_network_bandwidth=1.0, max_data_bandwidth=0.0,
        )  # fmt: skip
        assert contents(directory) == before
        assert is_unfinished(directory.with_name("clone.innoclone-new"))
        take(endpoint(donor.port), directory, keep_base=True, incremental="require")
        assert_taken(donor.source, directory)  # type: ignore[arg-type]


def test_generations(small_clone: Path, small_donor: Server, programs: Programs, tmp_path: Path) -> None:
    """Each begins with the newest one's blocks, and the oldest goes."""
    folder = tmp_path / "dated"
    with served(small_clone, tmp_path) as donor:
        where = endpoint(donor.port)
        made = [take(where, folder, generations=2, full_copies=True) for _ in range(3)]
        assert [result.incremental for result in made] == [False, True, True]
        assert [one.path for one in generations_of(folder)] == [result.directory for result in made[1:]]
        assert (folder / "latest").resolve() == made[-1].directory
        for result in made[1:]:
            assert_taken(donor.source, result.directory)  # type: ignore[arg-type]
            assert result.network < result.directory.joinpath("theirs", "t.ibd").stat().st_size
    with booted_copy(programs, made[-1].directory) as server:
        assert checksums(server) == checksums(small_donor)
