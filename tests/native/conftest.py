"""The library that is tested: the one that was built, or the one that $INNOCLONE_NATIVE names (./scripts/sanitize)."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from innoclone.native.library import BY_PROCESSOR, BY_TABLES, OFF, VARIABLE, Library, load
from innoclone.records.keys import own_certificate
from innoclone.transport.sockets import set_timeout


@pytest.fixture(scope="session")
def native() -> Library:
    """The library; there must be one, also where the other tests do without."""
    wanted = os.environ.get(VARIABLE, "")
    found, missing = load("" if wanted == OFF else wanted)
    assert found is not None, f"./scripts/setup builds it: {missing}"
    return found


@pytest.fixture(scope="module", params=[BY_PROCESSOR, BY_TABLES], ids=["by the processor", "by tables"])
def either_way(native: Library, request: pytest.FixtureRequest) -> Iterator[Library]:
    """The library, with each way of the checksum."""
    if native.crc32c_way(request.param) != request.param:
        pytest.skip("this processor has no instruction for it")
    yield native
    native.crc32c_way(BY_PROCESSOR)


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's, with a certificate made for the purpose."""
    certificate, key = own_certificate(tmp_path_factory.mktemp("tls"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    return server, client


@pytest.fixture(params=["plain", "TLSv1.3", "TLSv1.2"])
def pair(request: pytest.FixtureRequest, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> Iterator[tuple[Any, Any]]:
    """Two ends of a TCP connection: what we test, and a peer that is Python's alone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs = listener.accept()[0]
    if request.param != "plain":
        server, client = contexts
        client.maximum_version = ssl.TLSVersion[request.param.replace(".", "_")]
        accepted: list[ssl.SSLSocket] = []
        peer = threading.Thread(target=lambda: accepted.append(server.wrap_socket(theirs, server_side=True)))
        peer.start()
        ours = client.wrap_socket(ours)
        peer.join()
        theirs = accepted[0]
        assert ours.version() == request.param
    set_timeout(ours, 0.05)
    yield ours, theirs
    ours.close()
    theirs.close()
