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
    from innoclone.front.api import check, clone, discard, endpoint, history, local, replace_data, status, stop
    from innoclone.operation.clone import CloneResult
    from innoclone.operation.inspect import Condition, DirectoryStatus
    from innoclone.operation.local import LocalResult
    from innoclone.operation.replace import ReplaceResult
    from innoclone.ops.limits import Limits
    from innoclone.ops.managed import Managed
    from innoclone.ops.status import CloneStatus
    from innoclone.transport.endpoint import Compression, Endpoint, SslMode

__all__ = [
    "CloneError",
    "CloneResult",
    "CloneStatus",
    "Compression",
    "Condition",
    "DirectoryStatus",
    "Endpoint",
    "Limits",
    "LocalResult",
    "Managed",
    "ReplaceResult",
    "SslMode",
    "__version__",
    "check",
    "clone",
    "discard",
    "endpoint",
    "history",
    "local",
    "replace_data",
    "status",
    "stop",
]

_HOMES = {
    "CloneError": "errors",
    "CloneResult": "operation.clone",
    "CloneStatus": "ops.status",
    "Compression": "transport.endpoint",
    "Condition": "operation.inspect",
    "DirectoryStatus": "operation.inspect",
    "Endpoint": "transport.endpoint",
    "Limits": "ops.limits",
    "LocalResult": "operation.local",
    "Managed": "ops.managed",
    "ReplaceResult": "operation.replace",
    "SslMode": "transport.endpoint",
    "check": "front.api",
    "clone": "front.api",
    "discard": "front.api",
    "endpoint": "front.api",
    "history": "front.api",
    "local": "front.api",
    "replace_data": "front.api",
    "status": "front.api",
    "stop": "front.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
