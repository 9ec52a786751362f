"""Every error innoclone can end with, in one place, and so a long one.

Each class carries MySQL's number and SQLSTATE (mysqld_ername.h, errmsg.h), the exit status of the command line, whether
trying again can help and whether a clone goes on then, and what to do: rule 9 of docs/design.md.
`docs/errors.md` shows the tree of them.
"""

from __future__ import annotations

from typing import ClassVar

from innoclone.lines import escaped, one_line

__all__ = [
    "CloneError", "LocalFault", "RemoteFault", "UsageError", "TargetExists", "TargetUnusable", "TargetMisplaced",
    "TablespaceMissing", "FileInTheWay", "TargetBusy", "GenerationKept", "DiskSpace", "DiskFull", "FileError",
    "DonorFilesUnreadable", "TooManyOpenFiles", "ServerNotFound", "BootFailed", "VerifyFailed", "BadPage",
    "Interrupted", "ConnectFailed", "ConnectionLimit", "SshFailed", "SshMissing", "InnocloneMissing", "NotInnoclone",
    "InnocloneVersion", "TlsFailed", "NotMySQL", "AuthPluginUnsupported", "UnsafeLogin", "AccessDenied",
    "PrivilegeMissing", "PluginMissing", "NetworkError", "ProtocolError", "PathRefused", "AnswerTooLarge",
    "DonorError", "CloneRunning", "DdlAborted", "LockTimeout", "SnapshotGone", "PageUnfit", "Mismatch",
    "PreflightFailed", "VersionUnsupported", "ConfigurationMismatch", "FileNameClash", "EncryptionUnsupported",
    "EncryptionNeedsTls", "EncryptionDamaged", "KeyringFailed", "PacketTooSmall", "RedoDisabled", "SqlError",
    "StoreUnavailable", "StoreLeaseLost", "StoreMissing", "StoreKeyWrong", "StoreDamaged", "StoreUnsafe", "escaped",
    "registry", "one_line",
]  # fmt: skip


class CloneError(Exception):
    """Base of all: an error with a number, an exit status and a hint."""

    number: ClassVar[int] = 1105
    symbol: ClassVar[str] = "ER_UNKNOWN_ERROR"
    sqlstate: ClassVar[str] = "HY000"
    exit_status: ClassVar[int] = 1
    retryable: ClassVar[bool] = False
    resumable: ClassVar[bool] = False
    guide_number: ClassVar[int] = 0  # of the guide that the agent follows, if it has one
    hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        """``message`` starts in lower case and has no final period; ``hint`` replaces the class's own."""
        super().__init__(message)
        self.message = message
        self.advice = type(self).hint if hint is None else hint

    @property
    def code(self) -> int:
        """MySQL's number of this error."""
        return self.number

    @property
    def lines(self) -> list[str]:
        """It and its hint as lines for a terminal or a log."""
        hint = [f"hint: {self.advice}"] if self.advice else []
        return [escaped(line) for line in (f"ERROR {self.code} ({self.sqlstate}): {self.message}", *hint)]


class LocalFault(CloneError):
    """Something on this side: the command, the target, the disk, a local server."""


class RemoteFault(CloneError):
    """Something on the other side, or between the two."""


class UsageError(LocalFault):
    """The command, an option or an option file is wrong."""

    number, symbol, sqlstate, exit_status = 1210, "ER_WRONG_ARGUMENTS", "HY000", 2
    hint = "see --help"


class TargetExists(LocalFault):
    """The target directory exists and is not our own unfinished clone."""

    number, symbol, exit_status = 1007, "ER_DB_CREATE_EXISTS", 10
    hint = "name a directory that does not exist or is empty"


class TargetUnusable(LocalFault):
    """The target can't be created or written: relative, not permitted, no such parent."""

    number, symbol, exit_status = 1006, "ER_CANT_CREATE_DB", 10
    hint = "choose a directory that this user can create and write"


class TargetMisplaced(TargetUnusable):
    """The target lies within a data directory, a clone or what is the agent's."""

    number, symbol = 3632, "ER_PATH_IN_DATADIR"
    hint = "choose a directory outside of it"


class TablespaceMissing(TargetUnusable):
    """Files that the data dictionary names are not in the directory that is to be served."""

    number, symbol = 1812, "ER_TABLESPACE_MISSING"
    hint = "put the files back, or move the tablespaces into the data directory"


class FileInTheWay(TargetUnusable):
    """A stock recipient on this host would take files of others for those that it is to make."""

    number, symbol = 1086, "ER_FILE_EXISTS_ERROR"
    hint = "take the clone on another host, or with innoclone clone or innoclone restore and --map-path"


class TargetBusy(LocalFault):
    """Somebody uses this directory: a server, another innoclone process, any process with files open in it."""

    number, symbol, exit_status = 3874, "ER_CLONE_IN_PROGRESS", 10
    hint = "wait for the other process, or stop it"


class GenerationKept(LocalFault):
    """The new generation is complete, but an old one could not go: somebody uses it, or a server has changed it."""

    number, symbol, exit_status = 1010, "ER_DB_DROP_RMDIR", 14
    hint = (
        "the new clone is complete; the next run removes the old one if nothing uses it then, "
        "a changed one with --discard-changes"
    )


class DiskSpace(LocalFault):
    """The data that the donor announced does not fit into the free space."""

    number, symbol, exit_status = 3873, "ER_CLONE_DISK_SPACE", 9
    guide_number = 3870
    hint = "free space on the target file system, or choose another"


class DiskFull(LocalFault):
    """The file system ran full while writing (ENOSPC, EDQUOT)."""

    number, symbol, exit_status = 1021, "ER_DISK_FULL", 9
    resumable, guide_number = True, 3870
    hint = "free space on the target file system and run the same command again"


class FileError(LocalFault):
    """A local file could not be opened, read, written, renamed or synced."""

    number, symbol, exit_status = 1026, "ER_ERROR_ON_WRITE", 9
    resumable = True
    hint = "check the target file system and its mount options"


class DonorFilesUnreadable(LocalFault):
    """The donor's data directory is not on this host, or this user can't read it."""

    number, symbol, exit_status = 1016, "ER_CANT_OPEN_FILE", 10
    hint = "run as root or as the server's own user, on the server's host; or use 'innoclone clone'"


class TooManyOpenFiles(LocalFault):
    """The process is out of file descriptors."""

    number, symbol, exit_status = 23, "EE_OUT_OF_FILERESOURCES", 9
    resumable = True
    hint = "raise the limit of open files (ulimit -n) or use fewer threads"


class ServerNotFound(LocalFault):
    """No mysqld to start a clone with."""

    number, symbol, exit_status = 1017, "ER_FILE_NOT_FOUND", 13
    hint = "install MySQL, name one with --mysqld, or run 'innoclone sandbox start' once"


class BootFailed(LocalFault):
    """A mysqld did not come up on the directory."""

    number, symbol, exit_status = 3707, "ER_RESTART_SERVER_FAILED", 12
    hint = "read the error log that the message names"


class VerifyFailed(LocalFault):
    """The directory was checked and is not what it should be."""

    number, symbol, exit_status = 1712, "ER_INDEX_CORRUPT", 11
    hint = "don't use this clone; clone again"


class BadPage(VerifyFailed):
    """A page's checksum is wrong after the copy."""

    hint = "check the donor's file with innochecksum; if it is sound there, clone again and check this machine's disk"


class Interrupted(LocalFault):
    """The user stopped it (Ctrl-C, SIGTERM)."""

    number, symbol, sqlstate, exit_status = 1317, "ER_QUERY_INTERRUPTED", "70100", 130
    retryable, resumable, guide_number = True, True, 3862
    hint = "run the same command again"


class _Numbered(RemoteFault):
    """An error whose number the server gave."""

    def __init__(self, message: str, *, server_number: int = 0, hint: str | None = None) -> None:
        """Keep the server's own error number beside the text."""
        super().__init__(message, hint=hint)
        self.server_number = server_number

    @property
    def code(self) -> int:
        """The server's own number where it gave one."""
        return self.server_number or self.number


class ConnectFailed(RemoteFault):
    """No connection to the donor."""

    number, symbol, sqlstate, exit_status, retryable = 2003, "CR_CONN_HOST_ERROR", "HY000", 3, True
    resumable, guide_number = True, 3868
    hint = "check host, port and firewall, and that the server runs"


class ConnectionLimit(_Numbered, ConnectFailed):
    """The server has no connection left, or the account has used up what it is allowed."""

    number, symbol, sqlstate = 1040, "ER_CON_COUNT_ERROR", "08004"
    hint = "end connections to the server, or raise the limit there"


class SshFailed(ConnectFailed):
    """ssh made no connection, or lost it."""

    hint = "try the same by hand: ssh and the host's name, as the user who runs innoclone"


class SshMissing(LocalFault):
    """There is no ssh here to go through."""

    number, symbol, exit_status = 1017, "ER_FILE_NOT_FOUND", 13
    hint = "install the OpenSSH client, so that ssh is on PATH"


class InnocloneMissing(RemoteFault):
    """There is no innoclone on the other host, or it can't be run."""

    number, symbol, exit_status = 1017, "ER_FILE_NOT_FOUND", 13
    hint = "install innoclone there, or say where it is with --remote-innoclone"


class NotInnoclone(RemoteFault):
    """What was started on the other host is not an innoclone that serves, or something speaks before it."""

    number, symbol, exit_status = 2012, "CR_SERVER_HANDSHAKE_ERR", 3
    hint = "'ssh HOST true' must print nothing: let no file of the login shell there write to stdout"


class TlsFailed(RemoteFault):
    """TLS is not offered, or the certificate was not accepted."""

    number, symbol, exit_status = 2026, "CR_SSL_CONNECTION_ERROR", 3
    resumable = True
    hint = "check --ssl-mode and --ssl-ca; --ssl-mode=DISABLED sends the whole database in the clear"


class NotMySQL(RemoteFault):
    """The peer does not speak the MySQL protocol."""

    number, symbol, sqlstate, exit_status = 2012, "CR_SERVER_HANDSHAKE_ERR", "HY000", 3
    hint = "check host and port: what answers there is not a MySQL server (port 33060 is the X protocol)"


class AuthPluginUnsupported(RemoteFault):
    """The account uses an authentication plugin that innoclone doesn't speak."""

    number, symbol, exit_status = 2059, "CR_AUTH_PLUGIN_CANNOT_LOAD", 4
    hint = "use an account with caching_sha2_password"


class UnsafeLogin(RemoteFault):
    """The password would have to be told to a peer that nothing proves to be the server."""

    number, symbol, exit_status = 2061, "CR_AUTH_PLUGIN_ERR", 4
    hint = "use TLS (--ssl-mode=REQUIRED), --server-public-key-path, or --get-server-public-key if no one sits between"


class AccessDenied(RemoteFault):
    """Wrong user or password."""

    number, symbol, sqlstate, exit_status = 1045, "ER_ACCESS_DENIED_ERROR", "28000", 4
    hint = "check user, password and the host part of the account"


class PrivilegeMissing(RemoteFault):
    """The account lacks a privilege."""

    number, symbol, sqlstate, exit_status = 1227, "ER_SPECIFIC_ACCESS_DENIED_ERROR", "42000", 4
    guide_number = 3875
    hint = "on the donor: GRANT BACKUP_ADMIN ON *.* TO the account"


class PluginMissing(RemoteFault):
    """The clone plugin is not active on the donor."""

    number, symbol, exit_status = 1524, "ER_PLUGIN_IS_NOT_LOADED", 5
    hint = "on the donor: INSTALL PLUGIN clone SONAME 'mysql_clone.so', or use --install-plugin"


class NetworkError(RemoteFault):
    """The connection broke or stalled while it was in use."""

    number, symbol, sqlstate, exit_status, retryable = 1158, "ER_NET_READ_ERROR", "08S01", 7, True
    resumable, guide_number = True, 3868
    hint = "check the network and the donor, then run the same command again"


class ProtocolError(RemoteFault):
    """The peer sent what the protocol does not allow."""

    number, symbol, exit_status = 3863, "ER_CLONE_PROTOCOL", 8
    hint = "the peer is broken, hostile or of a version that innoclone does not know; nothing it sent was trusted"


class PathRefused(ProtocolError):
    """The donor named a file outside the target and no mapping allows it."""

    number, symbol, exit_status = 1525, "ER_WRONG_VALUE", 8
    hint = "for tablespaces outside the donor's data directory use --map-path OLD=NEW"


class AnswerTooLarge(RemoteFault):
    """The answer to an SQL statement is larger than what we ask for can be; it was not taken into memory."""

    number, symbol, sqlstate, exit_status = 2020, "CR_NET_PACKET_TOO_LARGE", "HY000", 8
    hint = "a server with so many tables or such long definitions has not been met yet: is it the right one?"


class DonorError(RemoteFault):
    """The donor reported an error; ``donor_number`` is its own number."""

    number, symbol, exit_status = 3862, "ER_CLONE_DONOR", 6
    hint = "look at the donor's error log"

    def __init__(self, message: str, *, donor_number: int = 0, hint: str | None = None) -> None:
        """Keep the donor's own error number beside the text."""
        super().__init__(message, hint=hint)
        self.donor_number = donor_number


class CloneRunning(DonorError):
    """Another clone runs on the donor; a server allows one."""

    number, symbol, retryable = 3634, "ER_CLONE_TOO_MANY_CONCURRENT_CLONES", True
    hint = "wait for the other clone on the donor (or its network timeout) and run the same command again"


class DdlAborted(DonorError):
    """A DDL statement on the donor ended the clone."""

    number, symbol, retryable = 3633, "ER_CLONE_DDL_IN_PROGRESS", True
    hint = "run the command again, or use --block-ddl"


class LockTimeout(DonorError):
    """The backup lock was not to be had in time."""

    number, symbol, retryable = 1205, "ER_LOCK_WAIT_TIMEOUT", True
    hint = "wait for running DDL on the donor, raise --ddl-timeout, or leave --block-ddl out"


class SnapshotGone(DonorError):
    """A clone that was broken off can't be continued; the message says why."""

    number, symbol, retryable = 1815, "ER_INTERNAL_ERROR", True
    hint = "run the same command again: a new clone begins"


class PageUnfit(SnapshotGone):
    """The donor found a page in its own memory that it would not send, and gave the snapshot up."""

    hint = "run the same command again; if it comes again, use CHECK TABLE on the donor and read its error log"


class SqlError(_Numbered):
    """A statement on a server failed; ``server_number`` is the server's number."""

    number, symbol, exit_status = 3862, "ER_CLONE_DONOR", 6


class Mismatch(RemoteFault):
    """Donor and recipient do not fit, or the donor can't be cloned as it is set up."""

    number, symbol, exit_status = 3868, "ER_CLONE_CONFIG", 5


class PreflightFailed(Mismatch):
    """Several things stand in the way at once; ``problems`` are they. Number and exit status are the first one's."""

    def __init__(self, problems: list[CloneError]) -> None:
        """Put the problems into one message, each with its hint."""
        inner = [f"{'    ' if number else '  '}{line}" for each in problems for number, line in enumerate(each.lines)]
        super().__init__("\n".join([f"{len(problems)} problems", *inner]))
        self.problems = problems
        self.exit_status = problems[0].exit_status  # type: ignore[misc]

    @property
    def code(self) -> int:
        """The first problem's number."""
        return self.problems[0].code

    @property
    def lines(self) -> list[str]:
        """A line for each problem and each hint behind the number of them."""
        first, *others = self.message.split("\n")
        return [f"ERROR {self.code} ({self.sqlstate}): {first}", *others]


class VersionUnsupported(Mismatch):
    """The donor's version can't be cloned, or not for the server at hand."""

    number, symbol = 3864, "ER_CLONE_DONOR_VERSION"
    hint = "the donor must be 8.0.17 or newer, and the clone needs a mysqld of the donor's series"


class InnocloneVersion(Mismatch):
    """The innoclones on both hosts are too different."""

    hint = "install the same version on both hosts, or name one over there with --remote-innoclone"


class ConfigurationMismatch(Mismatch):
    """A setting of the donor does not fit."""


class FileNameClash(Mismatch):
    """Undo or system tablespace files of one name in different directories: a clone has no room for both."""

    number, symbol = 3869, "ER_CLONE_SYS_CONFIG"
    hint = "a server can't be cloned with the files of its system tablespace as they are: use a logical backup"


class EncryptionUnsupported(Mismatch):
    """Encrypted tablespaces or redo that can't be cloned, or not here."""

    number, symbol = 3872, "ER_CLONE_ENCRYPTION"
    hint = "clone this server with the stock CLONE statement"


class EncryptionNeedsTls(Mismatch):
    """Encrypted data, whose keys travel beside it, over a plain connection: no donor gives it."""

    number, symbol = 3872, "ER_CLONE_ENCRYPTION"
    hint = "use --ssl-mode=REQUIRED"


class EncryptionDamaged(Mismatch):
    """The block that holds a tablespace's key, or the redo log's, is not what it should be."""

    number, symbol = 3872, "ER_CLONE_ENCRYPTION"
    hint = "on the donor: ALTER INSTANCE ROTATE INNODB MASTER KEY writes these blocks anew; then clone again"


class KeyringFailed(LocalFault):
    """A keyring that is needed is not there, can't be read, or has not the key that is wanted."""

    number, symbol, exit_status = 3185, "ER_CANNOT_FIND_KEY_IN_KEYRING", 15
    resumable = True
    hint = "name the keyring file with --keyring"


class PacketTooSmall(Mismatch):
    """The donor's max_allowed_packet is below 2 MiB."""

    number, symbol = 3957, "ER_CLONE_NETWORK_PACKET"
    hint = "on the donor: SET GLOBAL max_allowed_packet = 67108864"


class RedoDisabled(Mismatch):
    """Redo logging is switched off on the donor."""

    number, symbol = 3983, "ER_INNODB_REDO_DISABLED"
    hint = "on the donor: ALTER INSTANCE ENABLE INNODB REDO_LOG"


class StoreUnavailable(RemoteFault):
    """An object store didn't answer, or answered that it can't, also after many tries."""

    number, symbol, sqlstate, exit_status, retryable = 1158, "ER_NET_READ_ERROR", "08S01", 7, True
    hint = "check the network, the store and its limits, then run the same command again"


class StoreLeaseLost(StoreUnavailable):
    """A backup was overtaken by a removal: what it builds on may be gone, so it doesn't become a snapshot."""

    number, symbol, sqlstate = 1205, "ER_LOCK_WAIT_TIMEOUT", "HY000"
    hint = "run the same command again: it begins anew"


class StoreMissing(RemoteFault):
    """There is no store at that address, or no such snapshot in it."""

    number, symbol, sqlstate, exit_status = 1049, "ER_BAD_DB_ERROR", "42000", 10
    hint = "innoclone store list URL shows the snapshots, innoclone store init URL makes a store"


class StoreKeyWrong(RemoteFault):
    """The store is encrypted, and no key of it was given, or it isn't and one was given."""

    number, symbol, sqlstate, exit_status = 1045, "ER_ACCESS_DENIED_ERROR", "28000", 4
    hint = "name the store's key by --key-file, --passphrase-file or INNOCLONE_STORE_PASSPHRASE"


class StoreDamaged(RemoteFault):
    """An object of a store is missing, cut or changed."""

    number, symbol, exit_status = 1712, "ER_INDEX_CORRUPT", 11
    hint = "innoclone store verify URL says which snapshots are whole"


class StoreUnsafe(RemoteFault):
    """The store overwrites what was to be created only if absent, so two writers could destroy each other's work."""

    number, symbol, exit_status = 3868, "ER_CLONE_CONFIG", 5
    hint = "use another store, or --single-writer if no two commands ever write to it at a time"


def registry() -> list[type[CloneError]]:
    """All error classes, in the order in which they are written here."""
    items = (globals()[name] for name in __all__)
    return [item for item in items if isinstance(item, type) and issubclass(item, CloneError)]
