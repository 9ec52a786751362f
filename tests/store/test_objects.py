"""Places for objects: a folder and S3 do the same, and what goes wrong there gets a name."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from innoclone.errors import (
    AccessDenied,
    Interrupted,
    StoreDamaged,
    StoreMissing,
    StoreUnavailable,
    StoreUnsafe,
    TargetExists,
    UsageError,
)
from innoclone.store import persistent, remote
from innoclone.store.address import is_address, objects_at, parse_options, split_snapshot
from innoclone.store.care import prune
from innoclone.store.folder import FolderObjects
from innoclone.store.objects import AlreadyThere, Entry, Gone, Objects
from innoclone.store.persistent import Persistent
from innoclone.store.repository import init_store, open_store
from stores import SECRET, FaultyObjects, MemoryObjects, S3Server, unavailable


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture(params=["folder", "s3", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "folder":
        return FolderObjects(tmp_path / "store")
    if request.param == "memory":
        return MemoryObjects()
    server: S3Server = request.getfixturevalue("s3")
    return objects_at(f"s3://{server.new_bucket()}/some/prefix", server.options)


def test_one_place_is_as_good_as_another(objects: Objects) -> None:
    objects.create("data/run/1", b"first")
    with pytest.raises(AlreadyThere):
        objects.create("data/run/1", b"second")
    objects.create("data/run/2", bytearray(b"0123456789"))
    objects.create("other/x", b"")
    assert objects.read("data/run/1", 10) == b"first"
    with pytest.raises(StoreDamaged, match="has 10 bytes"):
        objects.read("data/run/2", 9)
    assert objects.read_range("data/run/2", 3, 4) == b"3456"
    assert {(one.name, one.size) for one in objects.list("data")} == {("data/run/1", 5), ("data/run/2", 10)}
    assert all(isinstance(one, Entry) and one.modified > 1.7e9 for one in objects.list("data"))
    assert list(objects.list("nothing")) == []
    for name in ("data/run/9", "nothing/at/all"):
        with pytest.raises(Gone):
            objects.read(name, 10)
        with pytest.raises(Gone):
            objects.read_range(name, 0, 1)
    objects.delete(["data/run/1", "data/run/2", "data/run/never"])
    assert [one.name for name in ("data", "other") for one in objects.list(name)] == ["other/x"]


def test_of_many_that_create_one_succeeds(objects: Objects) -> None:
    done: list[int] = []

    def create(number: int) -> None:
        try:
            objects.create("snapshots/one", str(number).encode())
            done.append(number)
        except AlreadyThere:
            pass

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(number).encode() for number in done] == [objects.read("snapshots/one", 10)]


def test_a_folder_has_no_halves_and_says_what_is_wrong(tmp_path: Path) -> None:
    there = FolderObjects(tmp_path / "store")
    repository = init_store(there, None, encrypted=False, single_writer=False)
    half = tmp_path / "store" / "data" / ("a" * 32) / ".new-0123456789abcdef"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half of one")
    assert prune(repository).marked == [str(half.relative_to(tmp_path / "store"))]
    assert prune(repository, grace=0).removed
    assert not half.parent.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(Gone):
        FolderObjects(tmp_path / "file").read("x", 9)
    if os.geteuid():
        (tmp_path / "store" / "data").chmod(0)
        with pytest.raises(AccessDenied):
            there.create("data/b", b"")


def test_a_lost_answer_is_no_conflict_and_faults_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistent, "FIRST_WAIT", 0.0)
    there, faults = MemoryObjects(), ["after create", "create", "read", "list", "delete", "after delete"]

    def fault(what: str, _: str) -> None:
        if what in faults:
            faults.remove(what)
            raise StoreUnavailable(what)

    objects = Persistent(FaultyObjects(there, fault))
    objects.create("a", b"mine")
    assert objects.read("a", 10) == b"mine"
    with pytest.raises(AlreadyThere):
        objects.create("a", b"another's")
    assert [one.name for one in objects.list("x")] == []
    objects.delete(["a"])
    assert (faults, there.objects) == ([], {})
    with pytest.raises(StoreUnavailable):
        Persistent(FaultyObjects(there, unavailable)).read("a", 9)


def test_a_store_that_overwrites_is_refused() -> None:
    class Overwriting(MemoryObjects):
        def create(self, name: str, data: bytes | bytearray) -> None:
            self.objects.pop(name, None)
            super().create(name, data)

    with pytest.raises(StoreUnsafe, match="overwrites"):
        init_store(Overwriting(), SECRET, encrypted=True, single_writer=False)
    there = Overwriting()
    assert init_store(there, SECRET, encrypted=True, single_writer=True).single_writer
    with pytest.raises(TargetExists):
        init_store(there, SECRET, encrypted=True, single_writer=True)


def test_what_s3_says_in_our_words(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreMissing, match="no such bucket"):
        list(objects_at("s3://nowhere/x", s3.options).list("a"))
    monkeypatch.setattr(remote, "RETRIES", 0)
    plain = {name: value for name, value in s3.options.items() if name != "allow_http"}
    with pytest.raises(StoreUnavailable) as refused:
        objects_at("s3://nowhere/x", plain).read("a", 9)
    assert "AWS_ALLOW_HTTP" in refused.value.advice
    with pytest.raises(UsageError):
        objects_at("s3://nowhere/x", {**s3.options, "no_such_option": "1"})
    closed = {**s3.options, "aws_endpoint": "http://127.0.0.1:9"}
    with pytest.raises(StoreUnavailable):
        objects_at("s3://nowhere/x", closed).read("a", 9)


def test_addresses() -> None:
    assert is_address("S3://b/p")
    assert not is_address("mysql://h")
    assert not is_address("/srv/clone")
    assert split_snapshot("s3://b/p@abc") == ("s3://b/p", "abc")
    assert split_snapshot("file:///a@b/c") == ("file:///a@b/c", "latest")
    for wrong in (
        "http://x/y",
        "file://relative/x",
        "file:///",
        "s3://key:secret@bucket/x",
        "s3://b/p?x=1",
        "s3://b/p@q",
    ):
        with pytest.raises(UsageError):
            objects_at(wrong, {})
    for wrong in ("s3://b/p@", "s3://b/p@a b"):
        with pytest.raises(UsageError):
            split_snapshot(wrong)
    assert parse_options(["a=b=c"]) == {"a": "b=c"}
    with pytest.raises(UsageError):
        parse_options(["a"])


def test_removal_one_by_one_only_where_there_is_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """localbucket knows no removal of many; a store that fails in another way is asked once."""
    with S3Server([sys.executable, "-m", "localbucket", "--port", "{port}", str(tmp_path)]) as server:
        monkeypatch.setattr(remote, "RETRIES", 0)
        objects = objects_at(f"s3://{server.new_bucket()}/x", server.options)
        for name in ("a/1", "a/2", "a/3"):
            objects.create(name, b"x")
        objects.delete(["a/1", "a/2", "a/gone"])
        assert [one.name for one in objects.list("a")] == ["a/3"]
        asked: list[object] = []

        def delete(_: object, names: object) -> None:
            asked.append(names)
            raise RuntimeError("503 Slow Down")

        fresh = objects_at(objects.address, server.options)
        monkeypatch.setattr("obstore.delete", delete)
        with pytest.raises(StoreUnavailable):
            fresh.delete(["a/3", "a/4"])
        assert asked == [["a/3", "a/4"]]


def test_a_hanging_store_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the user wants an end, nobody waits for its answer."""
    answer, asked, stopped = threading.Event(), threading.Event(), threading.Event()

    def fault(what: str, _: str) -> None:
        asked.set()
        answer.wait(60)

    def stop() -> None:
        asked.wait(60)
        stopped.set()

    monkeypatch.setattr(persistent, "GRACE", 0.1)
    monkeypatch.setattr(persistent, "_ending", threading.Event())
    threading.Thread(target=stop).start()
    with pytest.raises(Interrupted):
        Persistent(FaultyObjects(MemoryObjects(), fault), stopped).read("a", 9)
    persistent.end_waits()  # as by a signal, whoever waits
    with pytest.raises(Interrupted):
        Persistent(FaultyObjects(MemoryObjects(), fault)).read("a", 9)
    assert not answer.is_set()
    answer.set()


class Locked(BaseHTTPRequestHandler):
    """A bucket with object lock, in AWS's words: nothing comes without a checksum, and nothing goes."""

    protocol_version = "HTTP/1.1"
    checksums: list[str | None]

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        checksum = self.headers.get("x-amz-checksum-sha256")
        self.checksums.append(checksum)
        code, words = "InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests"
        self._answer(400 if checksum is None else 200, f"{code}</Code><Message>{words} with Object Lock parameters")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(501, "NotImplemented</Code><Message>no")

    def do_DELETE(self) -> None:
        self._answer(403, "AccessDenied</Code><Message>Access Denied because object protected by object lock.")

    def _answer(self, status: int, words: str) -> None:
        body = f"<Error><Code>{words}</Message></Error>".encode() if status >= 400 else b""
        self.send_response(status)
        self.send_header("ETag", '"x"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


def test_a_bucket_with_object_lock() -> None:
    """It gets checksums when it asks for them; what it keeps is told, and nothing is tried again."""
    Locked.checksums = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Locked) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        options = S3Server().options_at(server.server_address[1])
        objects = Persistent(objects_at("s3://locked/x", options))
        objects.create("a", b"1")
        objects.create("b", b"2")
        assert [checksum is not None for checksum in Locked.checksums] == [False, True, True]
        with pytest.raises(AccessDenied, match="protected by object lock") as caught:
            objects.delete(["a"])
        assert "prune it after that" in caught.value.advice
        server.shutdown()


def test_a_bucket_that_asks_for_more(s3: S3Server) -> None:
    """moto wants a header that can't be sent: an end at once, with what it is."""
    client = s3.client()
    client.create_bucket(Bucket="asks", ObjectLockEnabledForBucket=True)
    rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}}
    client.put_object_lock_configuration(Bucket="asks", ObjectLockConfiguration=rule)
    with pytest.raises(AccessDenied) as caught:
        init_store(Persistent(objects_at("s3://asks/x", s3.options)), None, encrypted=False, single_writer=False)
    assert "object lock" in caught.value.advice


def test_a_bucket_that_keeps_versions(s3: S3Server) -> None:
    """What was removed is gone for us, and its name is free."""
    s3.client().create_bucket(Bucket="versions", ObjectLockEnabledForBucket=True)
    objects = objects_at("s3://versions/x", s3.options)
    for _ in range(2):
        objects.create("a/1", b"x")
        with pytest.raises(AlreadyThere):
            objects.create("a/1", b"y")
        objects.delete(["a/1", "a/none"])
        assert list(objects.list("a")) == []


@pytest.mark.parametrize(("bucket", "status"), [("keeping", "Enabled"), ("no-more", "Suspended"), ("plain", "")])
def test_whether_a_bucket_keeps_versions_is_told(s3: S3Server, bucket: str, status: str) -> None:
    """By `init_store` and `prune`: what they remove is hidden there, and its room is not free."""
    client = s3.client()
    client.create_bucket(Bucket=bucket)
    if status:
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
    objects = Persistent(objects_at(f"s3://{bucket}/x", s3.options))
    made = init_store(objects, None, encrypted=False, single_writer=False)
    assert made.objects.keeps_versions == (status == "Enabled")
    made.objects.create(f"data/{'a' * 32}/000000", b"nobody's")
    opened = open_store(Persistent(objects_at(f"s3://{bucket}/x", s3.options)), None)
    pruned = prune(opened, grace=0)
    assert (len(pruned.removed), pruned.left, pruned.keeps_versions) == (1, 0, status == "Enabled")
    versions = client.list_object_versions(Bucket=bucket, Prefix="x/data").get("Versions", [])
    assert len(versions) == (status == "Enabled")  # what is told of it is so


def test_what_a_bucket_retains_comes_back(s3: S3Server) -> None:
    """With object lock and a retention nobody can remove an object: it is hidden, until the mark goes that hides it."""
    client = s3.client()
    client.create_bucket(Bucket="retains", ObjectLockEnabledForBucket=True)
    objects = Persistent(objects_at("s3://retains/x", s3.options))
    objects.create("data/1", b"precious")
    until = {"Mode": "COMPLIANCE", "RetainUntilDate": datetime(2099, 1, 1, tzinfo=UTC)}
    client.put_object_retention(Bucket="retains", Key="x/data/1", Retention=until)
    objects.delete(["data/1"])
    assert not list(objects.list("data"))
    there = client.list_object_versions(Bucket="retains", Prefix="x/data")
    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        client.delete_object(Bucket="retains", Key="x/data/1", VersionId=there["Versions"][0]["VersionId"])
    client.delete_object(Bucket="retains", Key="x/data/1", VersionId=there["DeleteMarkers"][0]["VersionId"])
    assert objects.read("data/1", 8) == b"precious"
