"""The agent's accounts: which one a client gets, what it may, and what is on disk."""

from __future__ import annotations

import pytest

from innoclone.agent.accounts.accounts import Account, Accounts, PasswordHash, host_matches
from innoclone.errors import FileError, TargetBusy
from innoclone.records.folders import claim


@pytest.mark.parametrize(
    ("pattern", "address", "fits"),
    [
        ("%", "10.0.0.1", True), ("192.168.1.%", "192.168.1.7", True), ("192.168.1.%", "192.168.10.7", False),
        ("192.168.1._", "192.168.1.7", True), ("192.168.1._", "192.168.1.70", False),
        ("192.168.1.%", "192x168.1.7", False), ("10.0.0.0/8", "10.9.9.9", True), ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/255.0.0.0", "10.9.9.9", True), ("10.0.0.0/nonsense", "10.9.9.9", False),
        ("localhost", "127.0.0.1", True), ("localhost", "localhost", True), ("localhost", "::1", True),
        ("10.%.%.1", "10.0.0.1", True), ("%0%", "10.0.0.1", True), ("%%%", "10.0.0.1", True),
        ("%.1", "10.0.0.1", True), ("%_.1", "10.0.0.1", True), ("_%", "", False), ("10.0.0.1%", "10.0.0.1", True),
        ("localhost", "10.0.0.1", False), ("127.0.0.1", "localhost", False), ("", "10.0.0.1", False),
    ],
)  # fmt: skip
def test_which_addresses_a_host_pattern_means(pattern, address, fits):
    assert host_matches(pattern, address) is fits


def test_a_host_pattern_of_many_wildcards_takes_no_time():
    """A backtracking expression would take longer than anybody lives."""
    assert not host_matches("%x" * 120, "x" * 64)
    assert host_matches("%x" * 20 + "%", "x" * 64)


def test_the_most_specific_account_counts(tmp_path):
    accounts = Accounts(tmp_path)
    hosts = ("%", "10.%", "10.0.%", "10.0.0.0/24", "10.0.0.1")
    accounts.put(*(Account("u", host) for host in hosts))
    found = [accounts.find("u", address) for address in ("10.0.0.1", "10.0.0.2", "10.0.1.1", "10.9.9.9", "9.9.9.9")]
    assert [account.host for account in found] == ["10.0.0.1", "10.0.0.0/24", "10.0.%", "10.%", "%"]
    assert accounts.find("U", "10.0.0.1") is None


def test_a_privilege_counts_where_it_was_given():
    account = Account(
        "u", grants=frozenset({("SELECT", "performance_schema.*"), ("SELECT", "a.t"), ("PROCESS", "*.*")})
    )
    assert account.may("SELECT", "performance_schema.clone_status")
    assert account.may("SELECT", "a.t")
    assert not account.may("SELECT", "a.other")
    assert not account.may("SELECT")
    assert account.may("PROCESS")
    assert account.may("PROCESS", "a.t")


def test_accounts_come_back_without_their_passwords(tmp_path):
    account = Account("ü", "%", PasswordHash.of(b"geheim"), frozenset({("CLONE_ADMIN", "*.*")}))
    Accounts(tmp_path).put(account, Account("gone"))
    accounts = Accounts(tmp_path)
    accounts.remove(accounts.get("gone", "%"))
    assert list(Accounts(tmp_path)) == [account]
    assert account.password.matches(b"geheim")
    assert not account.password.matches(b"geheim ")
    assert "geheim" not in (tmp_path / "accounts.json").read_text()
    assert PasswordHash.of(b"geheim").digest != account.password.digest  # salted
    assert [path.name for path in tmp_path.iterdir()] == ["accounts.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2, "accounts": []}', '{"format": 1, "accounts": [{}]}'])
def test_damaged_accounts_let_nobody_in(tmp_path, content):
    (tmp_path / "accounts.json").write_text(content)
    with pytest.raises(FileError):
        Accounts(tmp_path)


def test_a_change_that_can_not_be_written_does_not_count(tmp_path):
    accounts = Accounts(tmp_path)
    (tmp_path / "accounts.json.new").mkdir()
    with pytest.raises(FileError):
        accounts.put(Account("u"))
    assert list(accounts) == []


def test_a_folder_has_one_process(tmp_path):
    claim(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    with pytest.raises(TargetBusy):
        claim(tmp_path / "a" / "b")
