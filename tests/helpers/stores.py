"""Stores in the tests: objects in memory, and a wrapper that lets any call fail, hang back or kill."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

from innoclone.errors import StoreUnavailable
from innoclone.store.keys import Secret
from innoclone.store.objects import AlreadyThere, Entry, Gone, Objects, too_large
from innoclone.store.repository import Repository, init_store

SECRET = Secret("file", bytes(range(32)))


class MemoryObjects:
    """A store as it ought to be, with a clock that is set by hand."""

    address = "memory://test"
    keeps_versions = False

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, float]] = {}
        self.clock = 1_800_000_000.0
        self._lock = threading.Lock()

    def create(self, name: str, data: bytes | bytearray) -> None:
        with self._lock:
            if name in self.objects:
                raise AlreadyThere(name)
            self.objects[name] = bytes(data), self.clock

    def read(self, name: str, most: int) -> bytes:
        with self._lock:
            if name not in self.objects:
                raise Gone(name)
            data = self.objects[name][0]
        if len(data) > most:
            raise too_large(name, len(data), most)
        return data

    def read_range(self, name: str, start: int, length: int) -> bytes:
        return self.read(name, 1 << 40)[start : start + length]

    def list(self, prefix: str) -> Iterator[Entry]:
        with self._lock:
            found = [Entry(name, len(data), at) for name, (data, at) in self.objects.items()]
        yield from (one for one in found if one.name.startswith(f"{prefix}/"))

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            with self._lock:
                self.objects.pop(name, None)


class FaultyObjects:
    """Another place for objects, with a fault where ``fault`` says so: it is asked before each call (what, name), and
    after it (``after what``, name), and may raise."""

    def __init__(self, objects: Objects, fault: Callable[[str, str], None]) -> None:
        self.objects, self._fault = objects, fault
        self.address, self.keeps_versions = objects.address, objects.keeps_versions

    def create(self, name: str, data: bytes | bytearray) -> None:
        self._fault("create", name)
        self.objects.create(name, data)
        self._fault("after create", name)

    def read(self, name: str, most: int) -> bytes:
        self._fault("read", name)
        return self.objects.read(name, most)

    def read_range(self, name: str, start: int, length: int) -> bytes:
        self._fault("read", name)
        return self.objects.read_range(name, start, length)

    def list(self, prefix: str) -> Iterator[Entry]:
        self._fault("list", prefix)
        yield from list(self.objects.list(prefix))

    def delete(self, names: Iterable[str]) -> None:
        """One by one, as a store that refuses to remove many at once is asked."""
        for name in names:
            self._fault("delete", name)
            self.objects.delete([name])
            self._fault("after delete", name)


def unavailable(*_: object) -> None:
    raise StoreUnavailable("503 Slow Down")


def memory_store(*, encrypted: bool = True) -> Repository:
    return init_store(MemoryObjects(), SECRET if encrypted else None, encrypted=encrypted, single_writer=False)


class S3Server:
    """A server of S3 in a process of its own, and how to reach it."""

    def __init__(self, command: Sequence[str] = ()) -> None:
        """``command`` starts another one than moto's; ``{port}`` in it is the port."""
        self._number = 0
        self._command = command or [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "{port}"]

    def __enter__(self) -> Self:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [word.format(port=self.port) for word in self._command]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return self
            assert self._process.poll() is None, "the server of S3 has ended"
            time.sleep(0.1)
        raise AssertionError("the server of S3 didn't come up")

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def options(self) -> dict[str, str]:
        """For obstore."""
        return self.options_at(self.port)

    @staticmethod
    def options_at(port: int) -> dict[str, str]:
        """For a server on that port."""
        return {
            "aws_endpoint": f"http://127.0.0.1:{port}", "aws_access_key_id": "a", "aws_secret_access_key": "b",
            "aws_region": "us-east-1", "allow_http": "true",
        }  # fmt: skip

    def client(self) -> Any:
        """boto3's."""
        import boto3

        return boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{self.port}", aws_access_key_id="a", aws_secret_access_key="b",
            region_name="us-east-1",
        )  # fmt: skip

    def new_bucket(self) -> str:
        self._number += 1
        name = f"bucket-{self._number}"
        self.client().create_bucket(Bucket=name)
        return name
