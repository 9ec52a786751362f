"""The server of the status page: waitress, with a deadline for each request and a place for who has something to say.

waitress parses requests, bounds their size, and answers from its own threads. Two things it leaves to others: a
connection that sends or takes a byte now and then is as good as a busy one for it, and once there are as many as
allowed, more have to wait. `_Server` closes what takes too long, and of those that wait the oldest for a new one.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import WSGITask

from innoclone.agent.clones.speeds import SpeedHistory
from innoclone.agent.services import Services
from innoclone.agent.web.app import LOCAL_ADDRESS, App
from innoclone.errors import ConnectFailed
from innoclone.transport.listening import listen_tcp
from innoclone.version import __version__

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

__all__ = ["Web"]

log = logging.getLogger("innoclone.agent")
REQUEST_TIMEOUT = 10.0  # seconds for a request, and again for its answer to be taken
LONGEST_REQUEST = 16384  # bytes; a browser's are about one thousand
MAX_CONNECTIONS = 32
LONGEST_BACKLOG = 1 << 18  # bytes of answers that a client has not taken, before no more are made for it
THREADS = 4
PAUSE = 0.05  # seconds after a connection could not be accepted, as where there are no descriptors


class _Task(WSGITask):
    def get_environment(self) -> WSGIEnvironment:
        return {**super().get_environment(), LOCAL_ADDRESS: self.channel.local_address}


class _Channel(HTTPChannel):
    """A connection, and since when it waits: for a request, for its turn, or for its answer to be taken."""

    task_class = _Task

    def __init__(self, *args: Any, **options: Any) -> None:
        self.waiting_since = time.monotonic()
        super().__init__(*args, **options)
        self.local_address = "localhost"  # the strictest rule, where it is not known
        with contextlib.suppress(OSError):  # it is gone already
            self.local_address = self.socket.getsockname()[0]

    def service(self) -> None:
        self.waiting_since = time.monotonic()
        super().service()

    def drop(self) -> None:
        """Close it soon, also where its peer takes nothing."""
        self.will_close = True
        with contextlib.suppress(OSError):  # it is gone already
            self.socket.shutdown(socket.SHUT_RDWR)


class _Server(TcpWSGIServer):
    channel_class = _Channel

    def handle_accept(self) -> None:
        before = len(self.active_channels)
        super().handle_accept()
        if len(self.active_channels) == before:
            time.sleep(PAUSE)  # else the listening socket would be readable at once again
        channels = self._open()
        if len(channels) > MAX_CONNECTIONS:
            min(channels, key=lambda channel: channel.waiting_since).drop()

    def maintenance(self, now: float) -> None:
        """Called about once a second. A thread may wait for a client that takes no answer: it is let go, too."""
        oldest = time.monotonic() - REQUEST_TIMEOUT
        for channel in self._open():
            if channel.waiting_since < oldest:
                channel.drop()

    def _open(self) -> list[_Channel]:
        return [channel for channel in self.active_channels.values() if not channel.will_close]


class Web:
    """Listens from the beginning; answers between `start` and `stop`."""

    def __init__(self, services: Services, host: str, port: int) -> None:
        """Raises `ConnectFailed`."""
        try:
            self._socket = listen_tcp(host, port)
        except ConnectFailed as error:
            raise ConnectFailed(error.message, hint="name another --web-bind-address or --web-port") from error
        self.port: int = self._socket.getsockname()[1]
        self._speeds = SpeedHistory(services.clones)
        self._app = App(services, self._speeds)
        self._ending = threading.Event()
        self._server: _Server | None = None
        self._thread = threading.Thread(target=self._run, name="innoclone-web", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._speeds.start()
        self._server = _Server(
            self._app, _sock=self._socket, bind_socket=False, sockets=[self._socket],
            sockinfo=(self._socket.family, self._socket.type, self._socket.proto, self._socket.getsockname()),
            ident=f"innoclone/{__version__}", threads=THREADS, connection_limit=2 * MAX_CONNECTIONS,
            cleanup_interval=1, max_request_header_size=LONGEST_REQUEST, max_request_body_size=LONGEST_REQUEST,
            outbuf_high_watermark=LONGEST_BACKLOG, clear_untrusted_proxy_headers=True,
        )  # fmt: skip
        self._thread.start()

    def stop(self) -> None:
        """Accept no more, and end the connections."""
        if self._server is not None:
            with contextlib.suppress(OSError):  # its thread has ended already
                self._server.trigger.pull_trigger(self._ending.set)  # run there, before anything is closed
            self._thread.join()
        self._socket.close()
        self._speeds.stop()

    def _run(self) -> None:
        server = self._server
        assert server is not None
        try:
            while not self._ending.is_set():  # poll, since there may be more descriptors than select takes
                wasyncore.loop(timeout=1, use_poll=True, map=server._map, count=1)
        except Exception:
            log.exception("web: unexpected")
        finally:
            for channel in list(server.active_channels.values()):
                channel.handle_close()  # a thread that waits for its client goes on
            server.task_dispatcher.shutdown()
            wasyncore.close_all(server._map)
