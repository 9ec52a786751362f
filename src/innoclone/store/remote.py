"""Objects of S3, Google Cloud Storage and Azure, through obstore (the optional extra ``innoclone[store]``).

Credentials and endpoints are found as the providers' own programs find them: environment, files, the machine's role.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from innoclone.errors import (
    AccessDenied,
    CloneError,
    StoreDamaged,
    StoreMissing,
    StoreUnavailable,
    UsageError,
    one_line,
)
from innoclone.store.objects import AlreadyThere, Entry, Gone, too_large

__all__ = ["RemoteObjects"]

TIMEOUT = "60s"  # of one request
RETRIES = 4  # by obstore, for 5xx, timeouts and broken connections; `Persistent` tries again after it
RETRY_FOR = timedelta(seconds=60)
ALLOW_HTTP = "ALLOW_HTTP"  # an option, or behind AWS_ in the environment
NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist")
PLAIN_HTTP = "an endpoint without TLS needs AWS_ALLOW_HTTP=true, or --store-option allow_http=true"
SECRET = re.compile(r"(?i)(secret|token|key|sig|password)[^\s=:]*\s*[=:]\s*\S+")
REMOVING = "can't remove"
SUSPENDED = "null"  # the version of an object in a bucket of S3 that keeps none any more
NO_BULK = re.compile(r"\b(400|404|405|411|501)\b|NotImplemented|MethodNotAllowed|MalformedXML|InvalidRequest")
# A bucket with object lock and a retention by default takes nothing without a checksum.
NO_CHECKSUM = re.compile(r"Content-MD5|MissingUploadObjectWithObjectLockHeaders")
CHECKSUM_OPTION, CHECKSUM = "aws_checksum_algorithm", "sha256"
RETAINED = re.compile(r"(?i)object ?lock|retention|immutab|legal ?hold")
DENIED = re.compile(r"\b(401|403)\b|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|Forbidden")


class RemoteObjects:
    """The objects below one prefix of a bucket or container."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        """``options`` are obstore's, such as ``aws_endpoint``. Raises `UsageError`."""
        try:
            import obstore
            from obstore import exceptions, store
        except ImportError as error:
            raise UsageError(
                f"{url}: clones in an object store need obstore, which isn't installed",
                hint="pip install 'innoclone[store]'",
            ) from error
        self.address = url
        self.keeps_versions = False
        self._one_by_one = False  # it knows no removal of many at once
        self._more: dict[str, str] = {}  # options that it turned out to want
        self._obstore, self._errors = obstore, exceptions
        config = dict(options)
        plain = config.pop(ALLOW_HTTP.lower(), os.environ.get(f"AWS_{ALLOW_HTTP}", ""))
        make: Any = store.from_url  # its options depend on the provider, and are the user's

        def opened() -> Any:
            return make(
                url,
                config={**config, **self._more} or None,
                client_options={"timeout": TIMEOUT, "allow_http": plain.lower() in ("1", "true")},
                retry_config={"max_retries": RETRIES, "retry_timeout": RETRY_FOR},
            )

        self._opened = opened
        try:
            self._store: Any = opened()
        except Exception as error:
            raise UsageError(f"{url}: {_plain(error)}", hint="check the URL and --store-option") from error

    def create(self, name: str, data: bytes | bytearray) -> None:
        """One PUT with If-None-Match; with a checksum of its own where the bucket wants one."""
        try:
            self._put(name, data)
        except Exception as error:
            if not NO_CHECKSUM.search(str(error)) or CHECKSUM_OPTION in self._more:
                raise self._fault(error, f"can't write {name}") from error
            self._want(CHECKSUM_OPTION, CHECKSUM)
            try:
                self._put(name, data)
            except Exception as again:
                raise self._fault(again, f"can't write {name}") from again

    def _put(self, name: str, data: bytes | bytearray) -> None:
        put = self._obstore.put(self._store, name, data, mode="create", use_multipart=False)
        # Google gives every object a number, in any bucket; S3 and Azure only where they keep versions.
        if put["version"] not in (None, "", SUSPENDED) and not self.address.lower().startswith("gs"):
            self.keeps_versions = True

    def _want(self, option: str, value: str) -> None:
        """From now on with this option."""
        self._more[option] = value
        self._store = self._opened()

    def read(self, name: str, most: int) -> bytes:
        """One GET."""
        try:
            found = self._obstore.get(self._store, name)
            if (size := found.meta["size"]) > most:
                raise too_large(name, size, most)
            return found.bytes().to_bytes()
        except StoreDamaged:
            raise
        except Exception as error:
            raise self._fault(error, f"can't read {name}") from error

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """One GET with a range."""
        try:
            return self._obstore.get_range(self._store, name, start=start, length=length).to_bytes()
        except Exception as error:
            raise self._fault(error, f"can't read {name}") from error

    def list(self, prefix: str) -> Iterator[Entry]:
        """Page by page."""
        try:
            for some in self._obstore.list(self._store, prefix=prefix):
                for one in some:
                    yield Entry(one["path"], one["size"], one["last_modified"].timestamp())
        except Exception as error:
            raise self._fault(error, f"can't list {prefix}") from error

    def delete(self, names: Iterable[str]) -> None:
        """In bulk, and one by one where the store has no such request."""
        names = list(names)
        try:
            if names and not self._one_by_one:
                self._obstore.delete(self._store, names)
                return
        except Exception as error:
            if self._knows_no_bulk(error):
                self._one_by_one = True
                if self.address.lower().startswith("s3"):  # else it asks for one in the same way
                    self._want("aws_disable_bulk_delete", "true")
            elif not isinstance(fault := self._fault(error, f"{REMOVING} objects"), Gone):
                raise fault from error
        for name in names:
            self._delete(name)

    def _knows_no_bulk(self, error: Exception) -> bool:
        return isinstance(error, self._errors.NotSupportedError | NotImplementedError) or bool(
            NO_BULK.search(str(error))
        )

    def _delete(self, name: str) -> None:
        try:
            self._obstore.delete(self._store, name)
        except Exception as error:
            fault = self._fault(error, f"{REMOVING} {name}")
            if not isinstance(fault, Gone):
                raise fault from error

    def _fault(self, error: Exception, doing: str) -> CloneError:
        text = f"{self.address}: {doing}: {_plain(error)}"
        if isinstance(error, self._errors.AlreadyExistsError | self._errors.PreconditionError):
            return AlreadyThere(text)
        if isinstance(error, self._errors.NotFoundError | FileNotFoundError):
            return Gone(text)
        if doing.startswith(REMOVING) and RETAINED.search(text):
            return AccessDenied(text, hint="the bucket keeps objects for a time: nothing is lost, prune it after that")
        if NO_CHECKSUM.search(text):
            return AccessDenied(text, hint="the bucket has object lock, and takes no object of this kind: name another")
        denied = isinstance(error, self._errors.PermissionDeniedError | self._errors.UnauthenticatedError)
        if denied or DENIED.search(str(error)):
            return AccessDenied(text, hint="check the provider's credentials in the environment, and its policy")
        if NO_BUCKET.search(text):
            return StoreMissing(f"{self.address}: there is no such bucket", hint="make the bucket, or check its name")
        plain = "HTTP error: builder error" in text
        return StoreUnavailable(text, hint=PLAIN_HTTP if plain else None)


def _plain(error: Exception) -> str:
    """One line without secrets, without what obstore adds for programmers."""
    text = str(error).partition("\n\nDebug source")[0]
    return SECRET.sub(r"\1=...", one_line(text))[:500]
