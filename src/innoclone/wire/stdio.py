"""What two innoclones say to each other over a pipe (``innoclone serve --stdio``) before the clone protocol begins.

The serving side begins with a line that no other program says, `Hello`; then comes one line of JSON from the other
side, `Open` or `Join`, and one or more lines back: `Waiting` as long as it takes, then `Ready` or `Refused`. What is
wanted is told here and not in arguments of the program over there, so that no shell reads it.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from innoclone.errors import CloneError, DonorError, PreflightFailed, ProtocolError, one_line, registry

__all__ = [
    "GOODBYE", "LONGEST_LINE", "PROTOCOL", "Answer", "Hello", "Join", "Open", "Ready", "Refused", "Request", "Waiting",
    "are_of_one_series", "parse_answer", "parse_request", "serialize",
]  # fmt: skip

PROTOCOL = 1  # of these lines
LONGEST_LINE = 1 << 16  # bytes
GOODBYE = b"bye\n"  # on the pipe that was opened: all is over, and nobody will come back
_HELLO = re.compile(rb"innoclone-stdio ([0-9]{1,4}) ([0-9A-Za-z.+-]{1,40})\n")
_SESSION = re.compile(r"[0-9a-f]{16}")
_KINDS = {kind.__name__: kind for kind in registry() if not issubclass(kind, PreflightFailed)}


@dataclass(frozen=True)
class Hello:
    """Which protocol and which innoclone serves."""

    protocol: int
    version: str

    def serialize(self) -> bytes:
        """The line."""
        return f"innoclone-stdio {self.protocol} {self.version}\n".encode()

    @classmethod
    def parse(cls, line: bytes) -> Hello | None:
        """None where it is something else."""
        found = _HELLO.fullmatch(line)
        return None if found is None else cls(int(found[1]), found[2].decode())


def are_of_one_series(ours: str, theirs: str) -> bool:
    """Whether two versions of innoclone have the same first two numbers."""
    return ours.split(".")[:2] == theirs.split(".")[:2]


@dataclass(frozen=True)
class Open:
    """Serve this, for whoever knows ``secret``, as long as this pipe is there: a directory, or else a running server.

    Names are as the serving side has them; the server's is a DSN without a password, which is over there."""

    session: str
    secret: str
    directory: str = ""
    server: str = ""


@dataclass(frozen=True)
class Join:
    """One more connection to what an `Open` began."""

    session: str


Request = Open | Join


@dataclass(frozen=True)
class Waiting:
    """It takes time; there will be another answer."""


@dataclass(frozen=True)
class Ready:
    """Connections may come; or, after `Join`, this pipe is one now."""


@dataclass(frozen=True)
class Refused:
    """Why not: ``kind`` is the name of an error class."""

    kind: str
    message: str
    hint: str

    @classmethod
    def of(cls, error: CloneError) -> Refused:
        """What stands in the way of serving."""
        kind = type(error).__name__
        return cls(kind if kind in _KINDS else DonorError.__name__, error.message, error.advice)

    def error(self, host: str) -> CloneError:
        """The same on the other side."""
        kind = _KINDS.get(self.kind, DonorError)
        return kind(f"{host}: {one_line(self.message)}", hint=one_line(self.hint) if self.hint else None)


Answer = Waiting | Ready | Refused


def serialize(message: Request | Answer) -> bytes:
    """The line of a request or an answer."""
    return json.dumps({"say": type(message).__name__, **asdict(message)}).encode() + b"\n"


def parse_request(line: bytes) -> Request:
    """Raises `ProtocolError`."""
    match _parse(line):
        case {
            "say": "Open", "session": str() as session, "secret": str() as secret,
            "directory": str() as directory, "server": str() as server,
        }:  # fmt: skip
            if secret and bool(directory) is not bool(server):
                return Open(_session(session), secret, directory, server)
        case {"say": "Join", "session": str() as session}:
            return Join(_session(session))
    raise ProtocolError("a request that makes no sense")


def parse_answer(line: bytes) -> Answer:
    """Raises `ProtocolError`."""
    match _parse(line):
        case {"say": "Waiting"}:
            return Waiting()
        case {"say": "Ready"}:
            return Ready()
        case {"say": "Refused", "kind": str() as kind, "message": str() as message, "hint": str() as hint}:
            return Refused(kind, message, hint)
    raise ProtocolError("an answer that makes no sense")


def _session(name: str) -> str:
    """It becomes a file's name."""
    if not _SESSION.fullmatch(name):
        raise ProtocolError("a session's name is 16 hexadecimal digits")
    return name


def _parse(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a line that is no JSON") from error
    return found if isinstance(found, dict) else {}
