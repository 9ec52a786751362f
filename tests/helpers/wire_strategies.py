"""Hypothesis strategies for every message of the clone protocol and of a login, and what is said of them."""

from __future__ import annotations

import string
from collections.abc import Callable

from hypothesis import strategies as st

from innoclone.errors import NotMySQL, ProtocolError
from innoclone.wire.descriptors import (
    ChunkInfo,
    DataDescriptor,
    FileFlag,
    FileMetadata,
    Locator,
    StageNumber,
    StateDescriptor,
    StateFlag,
    TaskMetadata,
)
from innoclone.wire.handshake import AuthMoreData, AuthSwitch, Capability, Err, Greeting, HandshakeResponse, Ok
from innoclone.wire.rpc import (
    Ack,
    Attach,
    Collation,
    Complete,
    Config,
    DataDescription,
    Execute,
    Exit,
    Failure,
    Init,
    Locators,
    Plugin,
    Reinit,
    ResponseCode,
)

u8, u16 = st.integers(0, 0xFF), st.integers(0, 0xFFFF)
u31, u32 = st.integers(0, 0x7FFFFFFF), st.integers(0, 0xFFFFFFFF)
u64 = st.integers(0, 0xFFFFFFFFFFFFFFFF)
i32 = st.integers(-(1 << 31), (1 << 31) - 1)
stages = st.sampled_from(StageNumber)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
words = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=30)

chunk_infos = st.builds(
    ChunkInfo, st.lists(st.tuples(u32, u32), max_size=8).map(tuple), st.lists(u32, max_size=8).map(tuple)
)
plain_locators = st.builds(Locator, u64, u64, u32, stages, st.booleans())
locators = st.one_of(plain_locators, st.builds(Locator, u64, u64, u32, stages, st.booleans(), chunk_infos))
tasks = st.builds(TaskMetadata, u32, u32, u32)
states = st.builds(StateDescriptor, stages, u32, u32, u32, u64, u64, st.integers(0, 3).map(StateFlag))
blocks = st.builds(DataDescriptor, stages, u32, u32, u32, u32, u32, u64, u64)


@st.composite
def files(draw: st.DrawFn) -> FileMetadata:
    flags = FileFlag(draw(st.integers(0, 0x3F)))
    size = 64 if flags & FileFlag.HAS_KEY else 0
    return FileMetadata(
        draw(stages), draw(u64), draw(u64), draw(u32), draw(u32), flags, draw(u32), draw(u32), draw(u32), draw(u32),
        draw(names), draw(st.binary(min_size=size, max_size=size)),
    )  # fmt: skip


descriptors = st.one_of(locators, tasks, states, files(), blocks)

# A version locator is padded, which is how one with a list of chunks can't be sent.
_start = (u32, u31, st.booleans())
commands = st.one_of(
    st.builds(Init, *_start, st.lists(plain_locators, max_size=3).map(tuple)),
    st.builds(Attach, *_start, st.lists(plain_locators, max_size=3).map(tuple)),
    st.builds(Reinit, *_start, st.lists(locators, max_size=3).map(tuple)),
    st.builds(Execute),
    st.builds(Exit),
    st.builds(Ack, i32, locators, st.one_of(st.none(), states)),
)
configs = st.sampled_from([ResponseCode.CONFIG, ResponseCode.CONFIG_V3, ResponseCode.CONFIG_V4])
responses = st.one_of(
    st.builds(Locators, u32, st.lists(locators, max_size=3).map(tuple)),
    st.builds(DataDescription, descriptors),
    st.builds(Plugin, texts, st.one_of(st.none(), texts)),
    st.builds(Collation, texts),
    st.builds(Config, texts, texts, configs),
    st.builds(Complete),
    st.builds(Failure, i32, texts),
)

capabilities = st.integers(0, 0xFFFFFFFF).map(Capability)
nonces = st.binary(min_size=20, max_size=20)
greetings = st.builds(
    Greeting, words, u32, nonces,
    capabilities.map(lambda flags: flags | Capability.PROTOCOL_41 | Capability.PLUGIN_AUTH), words, u8, u16,
)  # fmt: skip
OLD = Capability.PROTOCOL_41 | Capability.SECURE_CONNECTION | Capability.PLUGIN_AUTH
NEW = OLD | Capability.PLUGIN_AUTH_LENENC
handshake_responses = st.one_of(
    st.builds(HandshakeResponse, st.just(NEW), names, st.binary(max_size=400), words),
    st.builds(HandshakeResponse, st.just(NEW | Capability.ZSTD), names, st.binary(max_size=400), words, u8),
    st.builds(HandshakeResponse, st.just(OLD), names, st.binary(max_size=255), words),
)
login_messages = st.one_of(
    st.builds(AuthSwitch, words, nonces),
    st.builds(AuthMoreData, st.binary(max_size=300)),
    st.builds(Ok, u16),
    st.builds(Err, u16, st.text(string.ascii_uppercase + string.digits, min_size=5, max_size=5), texts),
)


def parse_or_refuse(parser: Callable[[bytes], object], data: bytes) -> object:
    """None for data that is refused with an allowed error; anything else but a message fails the test."""
    try:
        return parser(data)
    except (ProtocolError, NotMySQL):
        return None
