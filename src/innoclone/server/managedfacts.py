"""What a server that we may stop and start says of itself, and what its account needs for that."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from innoclone.errors import AccessDenied, ConfigurationMismatch, PrivilegeMissing, SqlError
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.sql import Sql, understood
from innoclone.transport.timings import SQL_ANSWER_TIMEOUT
from innoclone.wire.serverversion import version_number

__all__ = [
    "PLACES", "ServerFacts", "account_words", "ask", "refuse_unlike", "refuse_without_account", "schemas_told",
]  # fmt: skip

# Where a server may keep data outside its data directory.
PLACES = (
    "innodb_data_home_dir", "innodb_undo_directory", "innodb_log_group_home_dir", "innodb_doublewrite_dir",
    "log_bin_basename", "log_bin_index",
)  # fmt: skip
VARIABLES = (
    *PLACES, "datadir", "version", "server_uuid", "innodb_page_size", "lower_case_table_names", "innodb_data_file_path",
    "innodb_temp_data_file_path", "log_error", "innodb_log_checksums", "skip_name_resolve", "ssl_ca", "ssl_cert",
    "ssl_key",
)  # fmt: skip
ER_TABLEACCESS_DENIED_ERROR = 1142  # with which a donor of ours refuses what it does not know
SAME = ("innodb_page_size", "innodb_data_file_path", "lower_case_table_names")


@dataclass(frozen=True)
class ServerFacts:
    """What the server says of itself."""

    variables: Mapping[str, str]
    outside: Sequence[str] = ()  # tablespaces' files that may be outside its data directory
    schemas: frozenset[str] = frozenset()  # that its account may see

    @property
    def own_data(self) -> list[str]:
        """Regular expressions of those names of files in its data directory that are data and can be any."""
        names = []
        for name in ("innodb_data_file_path", "innodb_temp_data_file_path"):
            names += [part.partition(":")[0].rpartition("/")[2] for part in self.variables.get(name, "").split(";")]
        patterns = [re.escape(name) for name in names if name]
        if basename := self.variables.get("log_bin_basename"):
            index = Path(self.variables["log_bin_index"]).name
            patterns += [re.escape(Path(basename).name) + r"\.(\d+|~rec~)", re.escape(index)]
        return patterns


@understood("itself")
def ask(server: Endpoint) -> ServerFacts:
    """Everything that is asked of a managed server, with its account. Raises a `CloneError`."""
    with Sql(server, read_timeout=SQL_ANSWER_TIMEOUT) as sql:
        marks = ", ".join(["%s"] * len(VARIABLES))
        rows = sql.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({marks})", VARIABLES)
        files = sql.rows(
            "SELECT FILE_NAME FROM information_schema.FILES WHERE FILE_NAME LIKE '/%%' OR FILE_NAME LIKE '../%%'"
        )
        schemas = _schemas_of(sql)
    return ServerFacts({str(name): str(value) for name, value in rows}, [str(row[0]) for row in files], schemas)


def _schemas_of(sql: Sql) -> frozenset[str]:
    """The schemas that the account may see."""
    return frozenset(str(row[0]) for row in sql.rows("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA"))


def schemas_told(donor: Sql) -> frozenset[str]:
    """The same of a donor. Another innoclone tells none: then names clash only once the data are here."""
    try:
        return _schemas_of(donor)
    except SqlError as error:
        if error.server_number != ER_TABLEACCESS_DENIED_ERROR:
            raise
        return frozenset()


def refuse_without_account(donor: Sql, managed: Endpoint) -> bool:
    """Whether it is known that the donor has the account of a managed server, or one of its name that may be it.

    False where the donor doesn't show its accounts to the clone's account. Raises `AccessDenied` or `PrivilegeMissing`
    where the managed server's account could not be used on the donor's data.
    """
    # By the socket the host is localhost; over TCP it is what the server makes of an address: there any may do.
    host = "localhost" if managed.socket is not None else None
    try:
        found = donor.rows(
            "SELECT Host, Process_priv = 'Y' FROM mysql.user WHERE User = %s AND (%s IS NULL OR %s LIKE Host)",
            (managed.user, host, host),
        )
        roles = donor.value("SELECT COUNT(*) FROM mysql.role_edges") or donor.value("SELECT @@mandatory_roles")
    except (PrivilegeMissing, SqlError):
        return False
    if not found:
        raise AccessDenied(
            f"the donor has no account {managed.user} that the managed server could be asked with afterwards",
            hint=f"on the donor: {account_words(managed)}",
        )
    if not roles and not any(has_process for _, has_process in found):
        raise PrivilegeMissing(
            f"the account {managed.user}, which the managed server is asked with, lacks PROCESS on the donor",
            hint=f"on the donor: {account_words(managed)}",
        )
    return True


def account_words(managed: Endpoint) -> str:
    """The statements that make the account of a managed server, for hints."""
    host = "localhost" if managed.socket is not None else "%"
    name = f"'{managed.user}'@'{host}'"
    return f"CREATE USER {name} IDENTIFIED BY '...'; GRANT PROCESS, REPLICATION CLIENT ON *.* TO {name}"


def refuse_unlike(server: Mapping[str, str], donor: Mapping[str, Any]) -> None:
    """Raise `ConfigurationMismatch` where the server, as it is configured, could not be started on the donor's data."""
    if version_number(server["version"]) // 100 != version_number(donor["version"]) // 100:
        raise ConfigurationMismatch(
            f"the donor is MySQL {donor['version']}, the managed server {server['version']}",
            hint="both must be of one series",
        )
    for name in SAME:
        # A stored clone's manifest may not tell; whether a server starts on the data is tried out.
        if name in donor and server[name] != donor[name]:
            raise ConfigurationMismatch(f"{name} is {donor[name]} on the donor, {server[name]} on the managed server")
    if donor.get("innodb_log_checksums") == "OFF" and server.get("innodb_log_checksums") != "OFF":
        raise ConfigurationMismatch(
            "innodb_log_checksums is OFF on the donor, and ON on the managed server, which would take the redo log for"
            " damaged",
            hint="SET GLOBAL innodb_log_checksums = ON on the donor, or start the managed server with OFF",
        )
    if server["server_uuid"] == donor["server_uuid"]:
        raise ConfigurationMismatch("the donor is the managed server itself: they have one server_uuid")
