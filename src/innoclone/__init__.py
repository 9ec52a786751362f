"""innoclone: MySQL's CLONE outside the server.

``innoclone.clone("mysql://user@host", "/backup/one", password=...)`` clones a running server into a directory. The
names below are loaded when they are first used, so that the command line starts quickly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from innoclone.version import __version__

if TYPE_CHECKING:
    from innoclone.api import (
        boot,
        check,
        clone,
        discard,
        endpoint,
        history,
        list_clones,
        local,
        replace_data,
        replicate,
        restore,
        serve,
        status,
        stop,
        verify,
    )
    from innoclone.commands.backup import BackupResult
    from innoclone.commands.boot import BootResult
    from innoclone.commands.bootcheck import BootChecked
    from innoclone.commands.clone import CloneResult
    from innoclone.commands.diff import Difference
    from innoclone.commands.inspect import Condition, DirectoryStatus
    from innoclone.commands.listing import Listing
    from innoclone.commands.local import LocalResult
    from innoclone.commands.replace import ReplaceResult
    from innoclone.commands.replicate import ReplicateResult
    from innoclone.commands.restore import RestoreResult
    from innoclone.commands.serve import Serving
    from innoclone.commands.storecare import Forgotten, StoreListing
    from innoclone.commands.storediff import StoredPlace
    from innoclone.commands.storeoptions import StoreAccess
    from innoclone.commands.verify import VerifyReport
    from innoclone.donor.takings import Taking
    from innoclone.errors import CloneError
    from innoclone.records.limits import Limits
    from innoclone.records.managedserver import Managed
    from innoclone.records.retention import Policy, Span
    from innoclone.records.running import running
    from innoclone.records.status import CloneStatus
    from innoclone.storeapi import (
        backup,
        backup_server,
        diff_places,
        restore_snapshot,
        serve_snapshot,
        store_add_key,
        store_boot_check,
        store_forget,
        store_info,
        store_init,
        store_keys,
        store_list,
        store_prune,
        store_remove_key,
        store_verify,
        verify_snapshot,
    )
    from innoclone.transport.endpoint import Compression, Endpoint, SslMode

__all__ = [
    "BackupResult",
    "BootChecked",
    "BootResult",
    "CloneError",
    "CloneResult",
    "CloneStatus",
    "Compression",
    "Condition",
    "Difference",
    "DirectoryStatus",
    "Endpoint",
    "Forgotten",
    "Limits",
    "Listing",
    "LocalResult",
    "Managed",
    "Policy",
    "ReplaceResult",
    "ReplicateResult",
    "RestoreResult",
    "Serving",
    "Span",
    "SslMode",
    "StoreAccess",
    "StoreListing",
    "StoredPlace",
    "Taking",
    "VerifyReport",
    "__version__",
    "backup",
    "backup_server",
    "boot",
    "check",
    "clone",
    "diff_places",
    "discard",
    "endpoint",
    "history",
    "list_clones",
    "local",
    "replace_data",
    "replicate",
    "restore",
    "restore_snapshot",
    "running",
    "serve",
    "serve_snapshot",
    "status",
    "stop",
    "store_add_key",
    "store_boot_check",
    "store_forget",
    "store_info",
    "store_init",
    "store_keys",
    "store_list",
    "store_prune",
    "store_remove_key",
    "store_verify",
    "verify",
    "verify_snapshot",
]

_HOMES = {
    "BackupResult": "commands.backup",
    "BootChecked": "commands.bootcheck",
    "BootResult": "commands.boot",
    "CloneError": "errors",
    "CloneResult": "commands.clone",
    "CloneStatus": "records.status",
    "Compression": "transport.endpoint",
    "Condition": "commands.inspect",
    "Difference": "commands.diff",
    "DirectoryStatus": "commands.inspect",
    "Endpoint": "transport.endpoint",
    "Forgotten": "commands.storecare",
    "Limits": "records.limits",
    "Listing": "commands.listing",
    "LocalResult": "commands.local",
    "Managed": "records.managedserver",
    "Policy": "records.retention",
    "ReplaceResult": "commands.replace",
    "ReplicateResult": "commands.replicate",
    "RestoreResult": "commands.restore",
    "Serving": "commands.serve",
    "Span": "records.retention",
    "SslMode": "transport.endpoint",
    "StoreAccess": "commands.storeoptions",
    "StoreListing": "commands.storecare",
    "StoredPlace": "commands.storediff",
    "Taking": "donor.takings",
    "VerifyReport": "commands.verify",
    "backup": "storeapi",
    "backup_server": "storeapi",
    "boot": "api",
    "check": "api",
    "clone": "api",
    "diff_places": "storeapi",
    "discard": "api",
    "endpoint": "api",
    "history": "api",
    "list_clones": "api",
    "local": "api",
    "replace_data": "api",
    "replicate": "api",
    "restore": "api",
    "restore_snapshot": "storeapi",
    "running": "records.running",
    "serve": "api",
    "serve_snapshot": "storeapi",
    "status": "api",
    "stop": "api",
    "store_add_key": "storeapi",
    "store_boot_check": "storeapi",
    "store_forget": "storeapi",
    "store_info": "storeapi",
    "store_init": "storeapi",
    "store_keys": "storeapi",
    "store_list": "storeapi",
    "store_prune": "storeapi",
    "store_remove_key": "storeapi",
    "store_verify": "storeapi",
    "verify": "api",
    "verify_snapshot": "storeapi",
}


def __dir__() -> list[str]:
    return sorted(globals() | _HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
