"""A store as the commands open it: with tries, and with the key that the user named."""

from __future__ import annotations

import threading

from innoclone.commands.storeoptions import StoreAccess
from innoclone.store.address import objects_at
from innoclone.store.keys import Secret, secret_of
from innoclone.store.persistent import Persistent
from innoclone.store.repository import Repository, open_store

__all__ = ["objects_of", "opened", "secret_for"]


def objects_of(access: StoreAccess, stopped: threading.Event | None = None) -> Persistent:
    """What is at the address, be it a store or not. Raises `UsageError`."""
    return Persistent(objects_at(access.address, dict(access.options)), stopped)


def secret_for(access: StoreAccess, *, new: bool = False) -> Secret | None:
    """The key that was named; a ``new`` one opens nothing yet. Raises `UsageError`."""
    return secret_of(access.key_file, access.passphrase_file, new=new)


def opened(access: StoreAccess, stopped: threading.Event | None = None) -> Repository:
    """The store there. Raises what `open_store` does, and `UsageError`."""
    return open_store(objects_of(access, stopped), secret_for(access))
