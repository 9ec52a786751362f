"""Replacing a server's data by an encrypted donor's: the keys are wrapped with a master key that the server has."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from innoclone.errors import CloneError, EncryptionUnsupported, FileError
from innoclone.files.keyring import COMPONENT, ENCRYPTION, is_configuration, local_configuration, read_keyring
from innoclone.files.manifest import read_manifest
from innoclone.innodb.encryption import MasterKey
from innoclone.server.preflight import DonorFacts
from innoclone.transport.endpoint import Endpoint
from innoclone.transport.sql import Sql
from innoclone.transport.timings import SQL_ANSWER_TIMEOUT

__all__ = ["refuse_unreadable", "server_key"]

HINT = (
    "let the managed server have component_keyring_file, whose file this user can read, and say ALTER INSTANCE ROTATE"
    " INNODB MASTER KEY there once; or clone into a directory, and see docs/howto/encrypted.md"
)


def server_key(server: Endpoint, uuid: str, donor: DonorFacts) -> tuple[Path, str] | None:
    """The managed server's keyring file and the name of a master key in it: its newest. None where it has none that
    can be used, which only an encrypted donor makes an error: `EncryptionUnsupported`."""
    why = f"the managed server {server.address} has no {COMPONENT}"
    try:
        with Sql(server, read_timeout=SQL_ANSWER_TIMEOUT) as sql:
            rows = sql.rows("SELECT STATUS_KEY, STATUS_VALUE FROM performance_schema.keyring_component_status")
        told = {str(key): str(value) for key, value in rows}
        if told.get("Component_name") == COMPONENT:
            path = Path(told["Data_file"])
            why = f"the managed server's keyring {path} has no master key of InnoDB's yet"
            if (key := _newest(read_keyring(path).values(), uuid)) is not None:
                return path, key.name
    except (CloneError, KeyError) as error:
        why = f"the managed server's keyring can't be used: {getattr(error, 'message', error)}"
    if donor.encrypted:
        raise EncryptionUnsupported(f"the donor has {donor.encrypted}, and {why}", hint=HINT)
    return None


def _newest(keys: Iterable[MasterKey], uuid: str) -> MasterKey | None:
    return max(keys, key=lambda key: (key.uuid == uuid, key.number), default=None)


def refuse_unreadable(new: Path, keyring: Path | None) -> None:
    """Raise `EncryptionUnsupported` where new data turned out to be encrypted, and its server has no key for it.

    The component's configuration goes: the server has its own.
    """
    manifest = read_manifest(new)
    entry = manifest.get(ENCRYPTION)
    if entry is None:
        return
    if keyring is None or entry["keyring"] != str(keyring):
        raise EncryptionUnsupported("the donor is encrypted, and the managed server has no key for its data", hint=HINT)
    try:
        for path in (new / name for name in local_configuration(keyring)):
            if is_configuration(path, manifest):
                path.unlink()
    except OSError as error:
        raise FileError(f"can't look into {new}: {error.strerror}") from error
