"""What a CLONE statement and the agent's variables ask for, as the options of the operation that makes the clone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from innoclone.agent.clones.errors import in_answer
from innoclone.agent.faults import StatementError
from innoclone.agent.sql.statements import CloneInstance, CloneLocal
from innoclone.agent.variables.donorlist import is_listed
from innoclone.agent.variables.globals import Variables, bandwidth
from innoclone.commands.destination import LONGEST_PATH, check_place
from innoclone.commands.options import MAX_THREADS, CloneOptions, LocalOptions, ReplaceOptions
from innoclone.errors import CloneError, TargetMisplaced, escaped
from innoclone.records.managedserver import Managed
from innoclone.transport.endpoint import Compression, Endpoint, SslMode

__all__ = ["OptionsBuilder", "bandwidths"]

COPYING = LocalOptions.threads  # files at a time: more don't help on one disk


class _Common(TypedDict):
    max_data_bandwidth: float
    block_ddl: bool
    ddl_timeout: int
    discard_changes: bool
    boot: bool
    retry_for: float


def bandwidths(variables: Variables) -> tuple[float, float]:
    """The limits of data and network, MiB/s, as the variables are now."""
    return (
        bandwidth(variables["clone_max_data_bandwidth"]),
        bandwidth(variables["clone_max_network_bandwidth"]),
    )


@dataclass(frozen=True)
class OptionsBuilder:
    """``local`` is the server that CLONE LOCAL copies, ``managed`` the one whose data CLONE INSTANCE replaces."""

    folder: Path  # the agent's
    variables: Variables
    local: Endpoint | None
    managed: Managed | None

    def of(self, statement: CloneLocal | CloneInstance) -> CloneOptions | LocalOptions | ReplaceOptions:
        """Raises a `StatementError`, `Failure` for a statement that can't be carried out."""
        if isinstance(statement, CloneLocal):
            return self._local_options(statement)
        self._check_listed(statement)
        if statement.directory is not None:
            return self._clone_options(statement, self._directory(statement.directory))
        if self.managed is None:
            raise StatementError(
                3869, "this agent manages no server whose data could be replaced: name a DATA DIRECTORY"
            )
        options = self._clone_options(statement, self.managed.datadir)
        return ReplaceOptions(options, self.managed, keep_old_data=bool(self.variables["clone_keep_old_data"]))

    def _check_listed(self, statement: CloneInstance) -> None:
        host = statement.host.lower()
        address = f"[{host}]:{statement.port}" if ":" in host else f"{host}:{statement.port}"
        allowed = self.variables.text("clone_valid_donor_list")
        if not is_listed(host, statement.port, allowed):
            raise StatementError(3869, f"{address} is not found in clone_valid_donor_list: {allowed}")

    def _directory(self, text: str) -> Path:
        if not text.startswith("/") or not text.isprintable():
            raise StatementError(1525, "path", escaped(text))
        if len(text.encode("utf-8", "surrogateescape")) > LONGEST_PATH:
            raise StatementError(1680, "DATA DIRECTORY")
        try:
            check_place(Path(text), taken=[self.folder])
        except TargetMisplaced as error:
            raise StatementError(3632, text) from error
        except CloneError as error:
            raise in_answer(error, Path(text), guide=self.variables.guide_numbers) from error
        return Path(text)

    def _donor(self, statement: CloneInstance) -> Endpoint:
        variables = self.variables
        paths = {name: Path(text) for name in ("ca", "cert", "key") if (text := variables.text(f"clone_ssl_{name}"))}
        encrypted = SslMode.VERIFY_CA if "ca" in paths else SslMode.REQUIRED
        key = variables.text("clone_server_public_key_path")
        return Endpoint(
            statement.host.lower(), statement.port, statement.user, statement.password,
            ssl_mode=SslMode.DISABLED if statement.ssl is False else encrypted,
            ssl_ca=paths.get("ca"), ssl_cert=paths.get("cert"), ssl_key=paths.get("key"),
            server_public_key_path=Path(key) if key else None,
            get_server_public_key=bool(variables["clone_get_server_public_key"]),
        )  # fmt: skip

    def _clone_options(self, statement: CloneInstance, directory: Path) -> CloneOptions:
        variables = self.variables
        most = variables.number("clone_max_concurrency")
        return CloneOptions(
            self._donor(statement), directory, **self._common,
            threads=None if variables["clone_autotune_concurrency"] else most, max_concurrency=most,
            compression=Compression("zstd" if variables["clone_enable_compression"] else "off"),
            max_network_bandwidth=bandwidth(variables["clone_max_network_bandwidth"]), write_changed_only=True,
            incremental=variables.text("clone_incremental").lower(),
        )  # fmt: skip

    def _local_options(self, statement: CloneLocal) -> LocalOptions:
        directory = self._directory(statement.directory)
        if self.local is None:
            raise StatementError(3869, "this agent knows of no server on this host: name one in its configuration")
        most = COPYING if self.variables["clone_autotune_concurrency"] else MAX_THREADS
        threads = min(most, self.variables.number("clone_max_concurrency"))
        return LocalOptions(self.local, directory, threads=threads, **self._common)

    @property
    def _common(self) -> _Common:
        """What a clone over the network and one on this host have both."""
        variables = self.variables
        return {
            "max_data_bandwidth": bandwidth(variables["clone_max_data_bandwidth"]),
            "block_ddl": bool(variables["clone_block_ddl"]),
            "ddl_timeout": variables.number("clone_ddl_timeout"),
            "discard_changes": bool(variables["clone_discard_changes"]),
            "boot": bool(variables["clone_boot"]),
            "retry_for": 60.0 * variables.number("clone_donor_timeout_after_network_failure"),
        }
