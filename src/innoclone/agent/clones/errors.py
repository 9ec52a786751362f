"""How the errors of clones look to the agent's clients: in a statement's answer and in the tables."""

from __future__ import annotations

import re
from pathlib import Path

from innoclone.agent.faults import StatementError
from innoclone.agent.variables.globals import CLONE_VARIABLES
from innoclone.agent.variables.kinds import Switch
from innoclone.errors import (
    AccessDenied,
    AuthPluginUnsupported,
    CloneError,
    ConnectFailed,
    DonorError,
    Interrupted,
    NetworkError,
    NotMySQL,
    PacketTooSmall,
    PluginMissing,
    PrivilegeMissing,
    TargetExists,
    TlsFailed,
)
from innoclone.transport.donorerrors import passed_on

__all__ = ["MESSAGE_LENGTH", "Failure", "in_answer", "in_statements", "in_table"]

CONNECTING = (ConnectFailed, TlsFailed, NotMySQL, AuthPluginUnsupported, AccessDenied)
FOUND_UNFIT = (NetworkError, PrivilegeMissing, PluginMissing, PacketTooSmall)
OF_THE_DONOR = (*CONNECTING, *FOUND_UNFIT, DonorError)
WRAPPED = {kind.number for kind in (*CONNECTING, *FOUND_UNFIT)}
NOT_REACHED = re.compile(r"can't connect to (\S+): .*")
MESSAGE_LENGTH = 512  # characters of ERROR_MESSAGE
DONOR = 3862  # ER_CLONE_DONOR
GUIDE = {1317: 3862, 1158: 3868, 2003: 3868, 3873: 3870, 1021: 3870, 1227: 3875, 1045: 3875}
"""The guide's own numbers: interrupted, network, disk space, privileges."""

_OPTION = re.compile(r"--([a-z][a-z-]*)(=[A-Z]+)?")
SSL_MODES = {"=REQUIRED": "REQUIRE SSL", "=DISABLED": "REQUIRE NO SSL"}


class Failure(CloneError):
    """A clone failed: with the number that the recipient's user sees."""

    def __init__(self, number: int, state: str, message: str) -> None:
        """``number`` and ``state`` go to the client."""
        super().__init__(message, hint="")
        self.shown = number
        self.sqlstate = state  # type: ignore[misc]  # one class for all of them

    @property
    def code(self) -> int:
        """The number."""
        return self.shown


def in_answer(error: CloneError, directory: Path, *, guide: bool) -> CloneError:
    """As the client sees it: a donor's and the network's errors in ER_CLONE_DONOR, as in a stock recipient.

    With ``guide`` the guide's own numbers are given.
    """
    if isinstance(error, StatementError):
        return error
    number, message = error.code, error.message
    if isinstance(error, TargetExists):
        message = f"Can't create database '{directory}'; database exists ({message})"
    elif isinstance(error, Interrupted):
        message = "Query execution was interrupted"
    elif isinstance(error, CONNECTING):
        if isinstance(error.__cause__, OSError) and error.__cause__.errno:  # as libmysqlclient has it
            message = NOT_REACHED.sub(rf"Can't connect to MySQL server on '\1' ({error.__cause__.errno})", message)
        message = f"Connect failed: {number} : {message}"
    elif isinstance(error, OF_THE_DONOR):
        message = "{} : {}".format(*passed_on(number, message))
    shown = _numbered(number, guide=guide)
    if isinstance(error, OF_THE_DONOR):
        shown, message = (DONOR if shown == number else shown), f"Clone Donor Error: {message}."
    return Failure(shown, error.sqlstate if shown != DONOR else CloneError.sqlstate, message)


def in_table(code: int, message: str, *, guide: bool) -> tuple[int, str]:
    """ERROR_NO and ERROR_MESSAGE, as in the statement's own error."""
    shown = _numbered(code, guide=guide)
    number, text = passed_on(code, message)
    if code in WRAPPED or message != text:
        shown, message = DONOR if shown == code else shown, f"Clone Donor Error: {number} : {text}."
    return shown, " ".join(message.split())[:MESSAGE_LENGTH]


def _numbered(number: int, *, guide: bool) -> int:
    return GUIDE.get(number, number) if guide else number


def in_statements(hint: str) -> str:
    """A hint as it is for the agent's clients: with its variables and clauses in place of a command's options."""
    return _OPTION.sub(_in_statement, hint)


def _in_statement(option: re.Match[str]) -> str:
    if option[1] == "ssl-mode":
        return SSL_MODES.get(option[2] or "", "REQUIRE [NO] SSL")
    name = f"clone_{option[1].replace('-', '_')}"
    kind = CLONE_VARIABLES.get(name)
    if kind is None:  # there is no such thing in the agent
        return option[0]
    return f"SET GLOBAL {name} = ON" if isinstance(kind, Switch) else name
