"""A scripted clone donor: a correct tiny one, in which any step can be replaced by something else.

It speaks on plain sockets and writes its messages with innoclone.wire. Every packet that it sends has a name: the
connection's role (``master``, ``aux``, ``worker``: the recipient opens them in this order) and the step, as in
``master locators`` or ``worker data``. ``donor.at(step, action)`` runs the action instead of sending; it gets the
`Peer` and the payload that would have been sent.
"""

from __future__ import annotations

import socket
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self, TypeAlias

import zstandard

from innoclone.transport.endpoint import Endpoint, SslMode
from innoclone.wire.descriptors import (
    NO_FSP_FLAGS,
    DataDescriptor,
    Descriptor,
    FileFlag,
    FileMetadata,
    Locator,
    StageNumber,
    StateDescriptor,
    StateFlag,
    TaskMetadata,
)
from innoclone.wire.handshake import AuthMoreData, Capability, Greeting, Ok
from innoclone.wire.packets import split
from innoclone.wire.rpc import (
    Ack,
    Attach,
    Collation,
    Command,
    Complete,
    Config,
    DataDescription,
    Execute,
    Exit,
    Failure,
    Init,
    Locators,
    Plugin,
    ProtocolVersion,
    ResponseCode,
    parse_command,
)
from innodb_pages import PLAIN, make_page

PATIENCE = 20.0  # seconds; a step of the other side that takes longer has not come at all
CAPABILITIES = (
    Capability.LONG_PASSWORD | Capability.PROTOCOL_41 | Capability.TRANSACTIONS | Capability.SECURE_CONNECTION
    | Capability.PLUGIN_AUTH | Capability.PLUGIN_AUTH_LENENC
)  # fmt: skip
NONCE = bytes(range(33, 53))
GREETING = Greeting("9.7.4", 7, NONCE, CAPABILITIES, "caching_sha2_password")
LOCATOR = Locator(11, 12, 0, StageNumber.INIT)
LOCATORS = Locators(ProtocolVersion.V4, (LOCATOR,))
NO_FLAGS = StateFlag(0)
NO_FILE_FLAGS = FileFlag(0)
STAGES = (StageNumber.FILE_COPY, StageNumber.PAGE_COPY, StageNumber.REDO_COPY)
SHORT = {StageNumber.FILE_COPY: "file", StageNumber.PAGE_COPY: "page", StageNumber.REDO_COPY: "redo"}


Action: TypeAlias = "Callable[[Peer, bytes], None]"


class Gone(Exception):
    """The connection is over."""


def exactly(sock: socket.socket, count: int) -> bytes:
    """So many bytes of a peer. Raises `Gone` where it left."""
    data = b""
    while len(data) < count:
        try:
            piece = sock.recv(count - len(data))
        except OSError as error:
            raise Gone from error
        if not piece:
            raise Gone
        data += piece
    return data


def packed(algorithm: str, data: bytes) -> bytes:
    """What stands in a compressed packet for ``data``."""
    return zlib.compress(data, 9) if algorithm == "zlib" else zstandard.ZstdCompressor().compress(data)


class Peer:
    """The donor's end of one connection."""

    def __init__(self, sock: socket.socket, role: str, donor: Donor) -> None:
        self.role, self.said = role, donor.said
        self._sock, self._actions, self._otherwise, self._stopped = sock, donor.actions, donor.otherwise, donor.stopped
        self._sequence = 0

    def say(self, step: str, payload: bytes) -> None:
        """A step of the script: send this, unless an action is to replace it."""
        self.said.append(step := f"{self.role} {step}")
        action = self._actions.get(step, self._otherwise)
        action(self, payload)

    def describe(self, step: str, descriptor: Descriptor) -> None:
        """The same, with a descriptor."""
        self.say(step, DataDescription(descriptor).serialize())

    def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise Gone from error

    def send(self, payload: bytes) -> None:
        """A packet, or several for a long payload."""
        self.raw(b"".join(split(payload, self._sequence)))
        self._sequence += 1

    def receive(self) -> bytes:
        """The payload of the next packet."""
        head = exactly(self._sock, 4)
        self._sequence = head[3] + 1
        return exactly(self._sock, int.from_bytes(head[:3], "little"))

    def command(self) -> Command:
        """The next clone command; answers to it count from 0."""
        payload = self.receive()
        self._sequence = 0
        return parse_command(payload)

    def close(self, _payload: bytes = b"") -> None:
        """Hang up."""
        raise Gone

    def silence(self, _payload: bytes = b"") -> None:
        """Say nothing, and read nothing either, as long as the donor runs."""
        self._stopped.wait(PATIENCE)
        raise Gone


@dataclass
class Source:
    """A file of the donor; each is one chunk."""

    name: str
    space_id: int
    content: bytes
    fsp_flags: int = PLAIN.raw
    flags: FileFlag = NO_FILE_FLAGS

    def metadata(self, index: int) -> FileMetadata:
        return FileMetadata(
            StageNumber.FILE_COPY, len(self.content), len(self.content), self.fsp_flags, 4096, self.flags,
            self.space_id, index, index + 1, index + 1, self.name,
        )  # fmt: skip


def small_files() -> list[Source]:
    """A buffer pool dump, the system tablespace, the dictionary, a table."""
    return [
        Source("ib_buffer_pool", 0xFFFFFFFF, b"1,2\n3,4\n", NO_FSP_FLAGS),
        Source("ibdata1", 0, table_file(0, 70)),
        Source("mysql.ibd", 0xFFFFFFFE, table_file(0xFFFFFFFE, 3)),
        Source("./db/t.ibd", 5, table_file(5, 4)),
    ]


def table_file(space_id: int, pages: int) -> bytes:
    return b"".join(make_page(PLAIN, number, space=space_id) for number in range(pages))


PAGE = make_page(PLAIN, 2, space=5, lsn=1 << 40)  # a newer version of page 2 of db/t.ibd
REDO = bytes(range(256)) * 16
REDO_FILE = FileMetadata(StageNumber.REDO_COPY, 65536, 0, NO_FSP_FLAGS, 0, NO_FILE_FLAGS, 0xFFFFFFF0, 0, 1, 1, "")


class Donor:
    """Use it with ``with``. ``workers`` says how many worker connections take part in the copy."""

    def __init__(self, files: list[Source] | None = None, *, workers: int = 0, block: int = 1 << 20) -> None:
        """``block``: bytes of a DATA message."""
        self.files = small_files() if files is None else files
        self._block = block
        self.workers = workers
        self.greeting = GREETING
        self.connect_timeout = PATIENCE  # seconds that a recipient waits for each step of the login
        self.takes_key = False  # the recipient was told to take the donor's RSA key
        self.failures: list[BaseException] = []  # what went wrong in the script itself
        self.actions: dict[str, Action] = {}
        self.otherwise: Action = Peer.send  # for all steps that have no action of their own
        self.said: list[str] = []  # the steps that were come to, in order
        self._changed = threading.Condition()
        self._stage = StageNumber.INIT
        self._ending = False  # the master was told the end of the stage
        self._acknowledged = StageNumber.NONE
        self._executing = 0
        self._ended: dict[Peer, StageNumber] = {}  # attached connection -> last stage that it was told the end of
        self.stopped = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def at(self, step: str, action: Action) -> Self:
        """Replace a step."""
        self.actions[step] = action
        return self

    # ---- life ----------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads.append(threading.Thread(target=self._accept, name="donor"))
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped.set()
        with self._changed:
            self._changed.notify_all()
        for sock in (self._listener, *self._sockets):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join()
        for sock in (self._listener, *self._sockets):
            sock.close()
        if self.failures and kind is None:
            raise self.failures[0]

    @property
    def endpoint(self) -> Endpoint:
        """How to reach it."""
        port = self._listener.getsockname()[1]
        return Endpoint(
            "127.0.0.1", port, "clone", "secret", ssl_mode=SslMode.DISABLED, connect_timeout=self.connect_timeout,
            get_server_public_key=self.takes_key,
        )  # fmt: skip

    def _accept(self) -> None:
        for number in range(1000):
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets.append(sock)
            role = ("master", "aux")[number] if number < 2 else "worker"
            thread = threading.Thread(target=self._serve, args=(sock, role), name=f"donor {role}")
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, role: str) -> None:
        peer = Peer(sock, role, self)
        try:
            self._talk(peer)
        except Gone:
            pass
        except BaseException as error:  # noqa: BLE001 - shown by __exit__
            self.failures.append(error)
        with self._changed:
            self._ended.pop(peer, None)
            self._changed.notify_all()
        sock.close()

    # ---- the conversation ----------------------------------------------------------------------------------

    def _talk(self, peer: Peer) -> None:
        self._log_in(peer)
        while not isinstance(command := peer.command(), Exit):
            if isinstance(command, Init):
                self._init(peer)
            elif isinstance(command, Attach):
                self._attach(peer)
            elif isinstance(command, Execute):
                self._execute(peer)
            elif isinstance(command, Ack):
                self._ack(command, peer)
        peer.say("exit complete", Complete().serialize())

    def _log_in(self, peer: Peer) -> None:
        peer.say("greeting", self.greeting.serialize())
        peer.receive()
        peer.say("auth", AuthMoreData(b"\x03").serialize())
        peer.say("login ok", Ok().serialize())
        peer.receive()  # COM_CLONE
        peer.say("clone ok", Ok().serialize())

    def _init(self, peer: Peer) -> None:
        peer.say("plugin", Plugin("binlog", "").serialize())
        peer.say("collation", Collation("utf8mb4_0900_ai_ci").serialize())
        peer.say("config", Config("innodb_page_size", "16384").serialize())
        timeout = Config("clone_donor_timeout_after_network_failure", "5", ResponseCode.CONFIG_V3)
        peer.say("config v3", timeout.serialize())
        text = '{"version":"9.7.4","maturity":"LTS"}'
        peer.say("config v4", Config("json_configs", text, ResponseCode.CONFIG_V4).serialize())
        peer.say("locators", LOCATORS.serialize())
        peer.say("init complete", Complete().serialize())

    def _attach(self, peer: Peer) -> None:
        """Like a stock donor: not before FILE_COPY, nor behind a stage's end. From then on the connection counts."""
        self._wait(lambda: self._stage > StageNumber.INIT and not self._ending)
        with self._changed:
            stage = self._stage
            self._ended[peer] = StageNumber(stage - 1)
        if stage is StageNumber.DONE:
            peer.say("attach error", Failure(1815, "Internal error: clone is over").serialize())
            return
        peer.say("attach locators", Locators(ProtocolVersion.V4, (replace(LOCATOR, stage=stage),)).serialize())
        peer.say("attach complete", Complete().serialize())

    def _ack(self, ack: Ack, peer: Peer) -> None:
        with self._changed:
            if ack.state is not None:
                self._acknowledged = ack.state.stage
            self._changed.notify_all()
        peer.say("ack complete", Complete().serialize())

    def _execute(self, peer: Peer) -> None:
        with self._changed:
            task = 0 if peer.role == "master" else self._executing + 1
            self._executing += task > 0
            stage = self._stage
            self._changed.notify_all()
        peer.describe("task", TaskMetadata(task))
        if not task:
            peer.describe("init end", StateDescriptor(StageNumber.INIT))
            self._wait(lambda: self._acknowledged is StageNumber.INIT)
            stage = StageNumber.FILE_COPY
            self._enter(stage, peer, task)
        for current in STAGES[STAGES.index(stage) :]:
            self._copy(current, peer, task)
            peer.describe(f"{SHORT[current]} end", self.state(current, task))
            self._advance(current, task, peer)
            if current is not StageNumber.REDO_COPY:
                self._enter(StageNumber(current + 1), peer, task)
        peer.describe("done start", self.state(StageNumber.DONE, task, StateFlag.START))
        peer.say("execute complete", Complete().serialize())

    def _advance(self, stage: StageNumber, task: int, peer: Peer) -> None:
        """The master waits for the others and for the acknowledgement, workers for the master."""
        with self._changed:
            self._ended[peer] = stage
            self._ending = self._ending or not task
            self._changed.notify_all()
        if task:
            self._wait(lambda: self._stage > stage)
            return
        self._wait(lambda: self._acknowledged is stage and all(ended >= stage for ended in self._ended.values()))
        if stage is StageNumber.REDO_COPY:
            self._set_stage(StageNumber.DONE)

    def _enter(self, stage: StageNumber, peer: Peer, task: int) -> None:
        peer.describe(f"{SHORT[stage]} start", self.state(stage, task, StateFlag.START))
        if stage is StageNumber.FILE_COPY:
            for index, file in enumerate(self.files):
                peer.describe("file metadata", file.metadata(index))
            self._set_stage(stage)
            self._wait(lambda: self._executing >= self.workers)
        elif not task:
            self._set_stage(stage)
        if stage is StageNumber.REDO_COPY:
            peer.describe("redo metadata", REDO_FILE)

    def state(self, stage: StageNumber, task: int = 0, flags: StateFlag = NO_FLAGS) -> StateDescriptor:
        """A STATE as this donor describes the stage."""
        chunks = {StageNumber.FILE_COPY: len(self.files), StageNumber.DONE: 0}.get(stage, 1)
        return StateDescriptor(stage, task, chunks, chunks, 0, 0, flags)

    def _copy(self, stage: StageNumber, peer: Peer, task: int) -> None:
        """This task's share of a stage: every so many files; the master alone sends pages and redo."""
        if stage is StageNumber.FILE_COPY:
            for index in range(task, len(self.files), self.workers + 1):
                self._send(peer, DataDescriptor(stage, task, index + 1, 0, index, 0, 0, 0), self.files[index].content)
        elif not task and stage is StageNumber.PAGE_COPY:
            self._send(peer, DataDescriptor(stage, task, 1, 0, 3, 0, 2 * len(PAGE), 0), PAGE)
        elif not task:
            self._send(peer, DataDescriptor(stage, task, 1, 0, 0, 0, 2048, 0), REDO)

    def _send(self, peer: Peer, first: DataDescriptor, content: bytes) -> None:
        """``content`` in blocks, from the place on that ``first`` says."""
        for block, at in enumerate(range(0, len(content), self._block), 1):
            piece = content[at : at + self._block]
            where = replace(first, block=block, length=len(piece), offset=first.offset + at)
            peer.describe(f"{SHORT[first.stage]} block", where)
            peer.say(f"{SHORT[first.stage]} data", bytes([ResponseCode.DATA]) + piece)

    # ---- waiting -------------------------------------------------------------------------------------------

    def _set_stage(self, stage: StageNumber) -> None:
        with self._changed:
            self._stage, self._ending = stage, False
            self._changed.notify_all()

    def _wait(self, reached: Callable[[], bool]) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: reached() or self.stopped.is_set(), PATIENCE):
                raise AssertionError("the recipient did not come to the next step")
        if self.stopped.is_set():
            raise Gone
