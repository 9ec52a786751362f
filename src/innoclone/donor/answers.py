"""The few statements that innoclone asks a donor before it takes a clone: answered for a directory at rest.

A stock recipient asks nothing but KILL. No statement is understood beyond these forms; what is not known is refused as
to an account that may not see it, which innoclone's preflight takes as it is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from innoclone.donor.description import Description
from innoclone.wire.codec import lenenc
from innoclone.wire.comparison import ANSWER_KEY
from innoclone.wire.handshake import Err, Ok
from innoclone.wire.results import ColumnDefinition, ColumnType, Eof, TextRow
from innoclone.wire.rpc import Collation, Config, Plugin, ProtocolVersion, ResponseCode

__all__ = ["UNKNOWN", "answer", "parameters", "refusal"]

UNKNOWN = Err(1142, "42000", "This donor serves a stored clone and knows no SQL beyond what a recipient asks")
_QUOTED = re.compile(r"'([a-z_]+)'")
_VARIABLES = re.compile(r"SHOW GLOBAL VARIABLES WHERE Variable_name IN \((?:_utf8mb4)?'", re.IGNORECASE)
_STATUS = re.compile(r"SHOW GLOBAL STATUS LIKE (?:_utf8mb4)?'(\w+)'\Z", re.IGNORECASE)
_ENGINES = re.compile(r"SELECT ENGINE, COUNT\(\*\) FROM information_schema\.TABLES ", re.IGNORECASE)
REFUSED = {
    1129: ("HY000", "Host '{}' is blocked because of many connection errors"),
    1040: ("08004", "Too many connections"),
    1047: ("08S01", "Unknown command"),
    1227: ("42000", "Access denied; you need (at least one of) the BACKUP_ADMIN privilege(s) for this operation"),
}


def refusal(number: int, *what: str) -> bytes:
    """An ERR packet."""
    state, text = REFUSED[number]
    return Err(number, state, text.format(*what)).serialize()


def answer(statement: str, described: Description, began: float) -> list[bytes]:
    """Packets. ``began`` is what is told as the donor's start, in seconds since the epoch."""
    text = " ".join(statement.split())
    if re.match(r"SET ", text, re.IGNORECASE):
        return [Ok().serialize()]
    if _VARIABLES.match(text):
        known = _variables(described)
        return _rows(
            ("Variable_name", "Value"), [(name, known[name]) for name in _QUOTED.findall(text) if name in known]
        )
    if found := _STATUS.match(text):
        states = {"Uptime": str(int(time.time() - began)), "Innodb_redo_log_enabled": "ON"}
        return _rows(("Variable_name", "Value"), [(name, state) for name, state in states.items() if name == found[1]])
    if _ENGINES.match(text):
        return _rows(("ENGINE", "COUNT(*)"), [])  # what is in no tablespace is not told: the directory is not a server
    values = {
        "SELECT UNIX_TIMESTAMP()": str(int(time.time())),
        "SELECT @@SESSION.max_user_connections": "0",
        "SELECT @@GLOBAL.server_uuid": described.uuid,
        "SELECT PLUGIN_STATUS FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'clone'": "ACTIVE",
    }
    if text in values:
        return _rows(("value",), [(values[text],)])
    if text.startswith("SELECT PLUGIN_NAME, PLUGIN_LIBRARY FROM information_schema.PLUGINS"):
        return _rows(("PLUGIN_NAME", "PLUGIN_LIBRARY"), [])
    return [UNKNOWN.serialize()]


def parameters(version: int, described: Description, minutes: int) -> list[bytes]:
    """What a recipient that speaks this ``version`` of the clone protocol is told in answer to COM_INIT. It may take
    ``minutes`` to come back after a network error."""
    found: list[Plugin | Collation | Config] = [
        Plugin(name, library if version >= ProtocolVersion.V2 else None) for name, library in described.plugins.items()
    ]
    found += [Collation(name) for name in described.collations]
    found += [Config(name, value) for name, value in described.configuration.items()]
    if version < ProtocolVersion.V4:
        found.insert(0, Config("version", described.version))
    if version >= ProtocolVersion.V3:
        found.append(Config("clone_donor_timeout_after_network_failure", str(minutes), ResponseCode.CONFIG_V3))
    if version >= ProtocolVersion.V4:
        found.append(Config("json_configs", described.json, ResponseCode.CONFIG_V4))
    return [one.serialize() for one in found]


def _variables(described: Description) -> dict[str, str]:
    """What is known of the server whose data it is; nothing else is made up but what a donor has to have."""
    donor = described.manifest.get("donor", {})
    told = {
        "lower_case_table_names": "lower_case_table_names", "innodb_data_file_path": "data_file_path",
        "gtid_mode": "gtid_mode", "enforce_gtid_consistency": "enforce_gtid_consistency", "log_bin": "log_bin",
        "innodb_log_checksums": "log_checksums",
    }  # fmt: skip
    logs = described.manifest.get("encryption") or {}
    found = {f"innodb_{log}_log_encrypt": "ON" for log in ("redo", "undo") if logs.get(log) == "ON"}
    found |= {name: str(donor[key]) for name, key in told.items() if donor.get(key) not in (None, "")}
    ours = {"version": described.version, "server_uuid": described.uuid}
    ours[ANSWER_KEY] = "ON" if described.increments else "OFF"
    return found | dict(described.configuration) | ours


def _rows(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> list[bytes]:
    definitions = [ColumnDefinition(name=name, type=ColumnType.VAR_STRING, length=4096).serialize() for name in columns]
    found = [TextRow(tuple(value.encode() for value in row)).serialize() for row in rows]
    end = Eof().serialize()
    return [lenenc(len(columns)), *definitions, end, *found, end]
