"""innoclone: MySQL's CLONE outside the server.

``innoclone.clone("mysql://user@host", "/backup/one", password=...)`` clones a running server into a directory. The
names below are loaded when they are first used, so that the command line starts quickly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from innoclone.version import __version__

if TYPE_CHECKING:
    from innoclone.errors import CloneError
    from innoclone.front.api import (
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
        status,
        stop,
        verify,
    )
    from innoclone.operation.boot import BootResult
    from innoclone.operation.clone import CloneResult
    from innoclone.operation.inspect import Condition, DirectoryStatus
    from innoclone.operation.listing import Listing
    from innoclone.operation.local import LocalResult
    from innoclone.operation.replace import ReplaceResult
    from innoclone.operation.replicate import ReplicateResult
    from innoclone.operation.restore import RestoreResult
    from innoclone.operation.verify import VerifyReport
    from innoclone.ops.limits import Limits
    from innoclone.ops.managed import Managed
    from innoclone.ops.retention import Policy, Span
    from innoclone.ops.status import CloneStatus
    from innoclone.transport.endpoint import Compression, Endpoint, SslMode

__all__ = [
    "BootResult",
    "CloneError",
    "CloneResult",
    "CloneStatus",
    "Compression",
    "Condition",
    "DirectoryStatus",
    "Endpoint",
    "Limits",
    "Listing",
    "LocalResult",
    "Managed",
    "Policy",
    "ReplaceResult",
    "ReplicateResult",
    "RestoreResult",
    "Span",
    "SslMode",
    "VerifyReport",
    "__version__",
    "boot",
    "check",
    "clone",
    "discard",
    "endpoint",
    "history",
    "list_clones",
    "local",
    "replace_data",
    "replicate",
    "restore",
    "status",
    "stop",
    "verify",
]

_HOMES = {
    "BootResult": "operation.boot",
    "CloneError": "errors",
    "CloneResult": "operation.clone",
    "CloneStatus": "ops.status",
    "Compression": "transport.endpoint",
    "Condition": "operation.inspect",
    "DirectoryStatus": "operation.inspect",
    "Endpoint": "transport.endpoint",
    "Limits": "ops.limits",
    "Listing": "operation.listing",
    "LocalResult": "operation.local",
    "Managed": "ops.managed",
    "Policy": "ops.retention",
    "ReplaceResult": "operation.replace",
    "ReplicateResult": "operation.replicate",
    "RestoreResult": "operation.restore",
    "Span": "ops.retention",
    "SslMode": "transport.endpoint",
    "VerifyReport": "operation.verify",
    "boot": "front.api",
    "check": "front.api",
    "clone": "front.api",
    "discard": "front.api",
    "endpoint": "front.api",
    "history": "front.api",
    "list_clones": "front.api",
    "local": "front.api",
    "replace_data": "front.api",
    "replicate": "front.api",
    "restore": "front.api",
    "status": "front.api",
    "stop": "front.api",
    "verify": "front.api",
}


def __dir__() -> list[str]:
    return sorted(globals() | _HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
