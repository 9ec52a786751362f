"""After the last byte: check suspect pages, bring files to their sizes, make them durable."""

from __future__ import annotations

import concurrent.futures
import os
import threading

from innoclone.errors import BadPage, EncryptionUnsupported, Interrupted
from innoclone.files.system import file_error
from innoclone.innodb.redo import FILE_HEADER_SIZE, holds_key
from innoclone.records.status import CloneStatus, Stage
from innoclone.sinks.directory import Target
from innoclone.stream.filetable import ClonedFile, FileTable
from innoclone.stream.suspects import Suspects

__all__ = ["finish_files"]

SHOWN = 5  # bad pages that an error message names


def finish_files(
    table: FileTable, target: Target, suspects: Suspects, status: CloneStatus, stopped: threading.Event, *, threads: int
) -> None:
    """The FILE SYNC stage. Raises `BadPage`, `EncryptionUnsupported`, `Interrupted` or a file error."""
    files = table.all_files()
    stage = status.start(Stage.FILE_SYNC, estimate=sum(file.size for file in files), threads=threads)
    _check_suspects(table, target, suspects)
    _check_redo(table, target)
    counters = [stage.counter() for _ in files]

    def settle(position: int) -> None:
        if stopped.is_set():
            raise Interrupted("stopped while files were synced")
        _settle(files[position], target)
        counters[position].data = files[position].size

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        jobs = [pool.submit(settle, position) for position in range(len(files))]
        try:
            for job in concurrent.futures.as_completed(jobs):
                job.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    status.finish(Stage.FILE_SYNC)


def _check_suspects(table: FileTable, target: Target, suspects: Suspects) -> None:
    """Pages that were damaged when written and never came again must be sound on disk by now, or the clone is bad."""
    bad: list[str] = []
    for index, pages in suspects.left().items():
        file = table.data[index]
        if file.dropped or file.checker is None or file.flags is None:
            continue
        size = file.flags.physical_page_size
        fd = target.open(file.path)
        try:
            for page in pages:
                data = os.pread(fd, size, (page - file.first_page) * size)
                for found in file.checker.bad_pages(data, page):
                    bad.append(f"{file.metadata.name} page {found.number} ({found.verdict.value})")
        except OSError as error:
            raise file_error(error, f"can't read {file.path}") from error
        finally:
            os.close(fd)
    if bad:
        more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise BadPage(f"damaged pages: {', '.join(bad[:SHOWN])}{more}")


def _check_redo(table: FileTable, target: Target) -> None:
    """A donor that encrypted its redo log once keeps the key in the log until it starts anew, and says so nowhere."""
    for file in table.redo.values():
        fd = target.open(file.path)
        try:
            if holds_key(os.pread(fd, FILE_HEADER_SIZE, 0)):
                raise EncryptionUnsupported(
                    "the donor's redo log was encrypted since it was started, the clone would ask for its keyring",
                    hint="switch innodb_redo_log_encrypt off and restart the donor",
                )
        finally:
            os.close(fd)


def _settle(file: ClonedFile, target: Target) -> None:
    """Final size and fsync of one file.

    A file shorter than the donor's is extended with zeros; a tablespace longer than one extent ends at an extent's
    border, as in a stock recipient (clone0copy.cc: it works around a problem of recovery).
    """
    fd = target.open(file.path)
    try:
        size = os.fstat(fd).st_size
        if size < file.size:
            os.ftruncate(fd, file.size)
        elif file.flags is not None:
            extent = file.flags.extent_size
            if size > extent and size % extent:
                os.ftruncate(fd, size + extent - size % extent)
        if target.fsync:
            os.fsync(fd)
    except OSError as error:
        raise file_error(error, f"can't sync {file.path}") from error
    finally:
        os.close(fd)
