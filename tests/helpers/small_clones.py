"""Clones of a few pages that were never a server's, and versions of them: for what is done to stores a thousand times.

They look like clones whose recovery is done, so no redo log is asked for; a server would refuse them.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from innoclone.files.ownlife import LEFT, left_behind
from innoclone.innodb.space import SpaceHeader
from innodb_pages import PLAIN, make_page, seal

__all__ = ["small_clone_version"]

PAGES = {"mysql.ibd": 8, "schema/t.ibd": 60, "schema/u.ibd": 35, "other/v.ibd": 3}
SPACES = {"mysql.ibd": 0xFFFFFFFE, "schema/t.ibd": 11, "schema/u.ibd": 12, "other/v.ibd": 13}
FILE_HEADER, FSP_HEADER = 38, 8  # bytes, and the type of page 0
CHANGED = 4  # pages of each version


def small_clone_version(directory: Path, version: int) -> Path:
    """The clone as it was at that time: each version has a few pages of its own, and one of the files grows."""
    rows = []
    for name, count in PAGES.items():
        count += 5 * version if name == "schema/u.ibd" else 0
        dice = random.Random(name)
        lsns = [1000 + number for number in range(count)]
        for step in range(1, version + 1):
            for _ in range(CHANGED):
                number = dice.randrange(count)
                lsns[number] = 100_000 * step + number
        data = b"".join(_page(name, number, lsn) for number, lsn in enumerate(lsns))
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        rows.append({"path": name, "space_id": SPACES[name], "flags": 0, "size": len(data)})
    (directory / "empty").mkdir()
    (directory / "ib_buffer_pool").write_text(f"{version},0\n")
    for name in ("#clone", "#innoclone"):
        (directory / name).mkdir()
    donor = {"uuid": "a-server", "version": "9.7.4", "host": "db1", "port": 3306, "page_size": 16384}
    manifest = {"format": 1, "files": rows, "donor": donor, LEFT: left_behind(directory), "finished": "2026-11-28"}
    (directory / "#innoclone" / "manifest.json").write_text(json.dumps(manifest))
    return directory


def _page(name: str, number: int, lsn: int) -> bytes:
    """The bodies differ from page to page, and a quarter of each compresses hardly."""
    page = bytearray(make_page(PLAIN, number, lsn=lsn, space=SPACES[name]))
    if number == 0:
        head = SpaceHeader.LAYOUT.pack(SPACES[name], PAGES[name], 0)
        page[FILE_HEADER : len(head)] = head[FILE_HEADER:]
        page[24:26] = FSP_HEADER.to_bytes(2, "big")
    page[64:4096] = random.Random(f"{name} {number} {lsn}").randbytes(4032)
    return seal(page, PLAIN)
