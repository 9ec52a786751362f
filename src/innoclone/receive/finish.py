"""After the last byte: check suspect pages, bring files to their sizes, make them durable."""

from __future__ import annotations

import concurrent.futures
import threading

from innoclone.errors import BadPage, Interrupted
from innoclone.receive.sealedfiles import check_sealed
from innoclone.receive.state import CloneState
from innoclone.records.status import Stage
from innoclone.stream.filetable import ClonedFile
from innoclone.stream.sink import Sink

__all__ = ["finish_files"]

THREADS = 4
SHOWN = 5  # bad pages that an error message names


def finish_files(state: CloneState, stopped: threading.Event) -> None:
    """The FILE SYNC stage. Raises `BadPage`, `EncryptionDamaged`, `Interrupted` or a file error."""
    files, sink = state.table.all_files(), state.sink
    row = state.status.start(Stage.FILE_SYNC, estimate=sum(file.size for file in files), threads=THREADS)
    _check_suspects(state)
    check_sealed(state)
    counters = [row.counter() for _ in files]

    def complete(position: int) -> None:
        if stopped.is_set():
            raise Interrupted("stopped while files were synced")
        sink.complete(files[position])
        counters[position].data = files[position].size

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        jobs = [pool.submit(complete, position) for position in range(len(files))]
        try:
            for job in concurrent.futures.as_completed(jobs):
                job.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    state.status.finish(Stage.FILE_SYNC)


def _check_suspects(state: CloneState) -> None:
    """Pages that were damaged when they came and never came again must be sound by now, or the clone is bad."""
    bad: list[str] = []
    for index, pages in state.suspects.left().items():
        file = state.table.data[index]
        if not file.dropped and file.checker is not None and file.flags is not None:
            bad += _still_bad(file, pages, state.sink)
    if bad:
        more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise BadPage(f"damaged pages: {', '.join(bad[:SHOWN])}{more}")


def _still_bad(file: ClonedFile, pages: list[int], sink: Sink) -> list[str]:
    """What is to be said of each of ``pages`` that is damaged; all of them where nobody can look again."""
    assert file.checker is not None
    if not sink.can_read_back:
        return [f"{file.metadata.name} page {page} (damaged when it came)" for page in pages]
    size = file.checker.page_size
    return [
        f"{file.metadata.name} page {found.number} ({found.verdict.value})"
        for page in pages
        for found in file.checker.bad_pages(sink.read(file.path, (page - file.first_page) * size, size), page)
    ]
