"""What the table of files asks for, done on a sink."""

from __future__ import annotations

from innoclone.stream.filetable import Action, Adopt, Create, Drop, Rename
from innoclone.stream.sink import Sink

__all__ = ["carry_out", "carry_out_again"]


def carry_out(action: Action, sink: Sink) -> bool:
    """Do it. Whether an older file was adopted. Raises `PathRefused`, a file error."""
    match action:
        case Adopt(path, name, space_id, fsp_flags, size):
            if sink.adopt(name, space_id, fsp_flags, path, size):
                return True
            sink.create(path)
        case Create(path, content, size):
            sink.create(path, content, size)
        case Rename(old, new):
            sink.rename(old, new)
        case Drop(path):
            sink.unlink(path)
    return False


def carry_out_again(action: Action, sink: Sink) -> None:
    """Do what an earlier process was about to do, and may have done, or half of it. Raises as `carry_out`."""
    match action:
        case Rename(old, new) if sink.exists(new) and not sink.exists(old):
            return
        case Create(path, content, _):
            if not content and sink.exists(path):
                return  # a redo file, which may have data by now: no event comes between
            sink.unlink(path)
    carry_out(action, sink)
