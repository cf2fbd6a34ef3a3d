"""The ring of keys while its store hangs, fails, comes back, or is put back to an earlier state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import threading
import time
from typing import Any

import msgspec
import pytest

from sluicegate.access.current import Access
from sluicegate.access.register import Register
from sluicegate.config import Allowance, Key, Secret, Settings
from sluicegate.errors import KeysUnavailable, NotAuthenticated, RequestFailed
from sluicegate.store.interface import StoreError
from sluicegate.store.keys import KeyRecord

CONFIGURED = "sk-configured"
SETTINGS = Settings(keys=(Key(name="dev", key=Secret(CONFIGURED)),))


class Shelf:
    """A store of keys in memory that fails and hangs as it is told."""

    def __init__(self) -> None:
        self.records: dict[str, KeyRecord] = {}
        self.broken = False
        self.hangs = threading.Event()
        self.hangs.set()

    def open(self) -> None:
        self.hangs.wait()
        if self.broken:
            raise StoreError("broken")

    def keys_version(self) -> int:
        return max((record.version for record in self.records.values()), default=0)

    def keys(self, after: int) -> list[KeyRecord]:
        return [record for record in self.records.values() if record.version > after]

    def write_key(self, record: KeyRecord, before: int) -> bool:
        self.records[record.name] = msgspec.structs.replace(record, version=self.keys_version() + 1)
        return True

    def close(self) -> None:
        return


class Decisions(list[str]):
    """What was counted."""

    def keys_unavailable(self, decision: str) -> None:
        self.append(decision)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def start(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Access]]:
    """Starts one that looks every 20 ms."""
    monkeypatch.setattr("sluicegate.access.current.EVERY", 0.02)
    started: list[Access] = []

    def begin(**settings: Any) -> Access:
        access = Access(msgspec.structs.replace(SETTINGS, **settings), shelf, Decisions())
        started.append(access)
        access.wait()
        return access

    yield begin
    shelf.hangs.set()
    for access in started:
        access.close()


def create(shelf: Shelf, name: str, **said: Any) -> str:
    return str(Register(SETTINGS, shelf).create({"name": name, **said})["key"])


def says(access: Access, key: str) -> str:
    """Whose key it is, or what is said instead."""
    try:
        return access.caller([f"Bearer {key}"], []).name
    except RequestFailed as error:
        return error.code


def soon(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_store_that_hangs_holds_nobody_up_and_its_keys_expire_all_the_same(
    shelf: Shelf, start: Callable[..., Access]
) -> None:
    key = create(shelf, "app", expires=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2)))
    access = start(keys_max_stale=60.0)
    assert says(access, key) == "app"
    shelf.hangs.clear()
    began = time.monotonic()
    assert says(access, key) == "app"
    assert time.monotonic() - began < 0.5
    soon(lambda: says(access, key) == "invalid_api_key")
    assert says(access, CONFIGURED) == "dev"


@pytest.mark.parametrize(("decision", "said"), [("deny", "keys_unavailable"), ("allow", "app")])
def test_keys_that_are_too_old_are_decided_by_the_setting(
    shelf: Shelf, start: Callable[..., Access], decision: str, said: str
) -> None:
    key = create(shelf, "app")
    access = start(keys_max_stale=0.2, keys_unavailable=decision)
    assert says(access, key) == "app"
    shelf.broken = True
    soon(lambda: access.age > 0.2)
    assert [says(access, key), says(access, CONFIGURED), says(access, "sk-else")] == [said, "dev", "invalid_api_key"]
    assert str(access._counts) == str([decision])
    shelf.broken = False
    soon(lambda: access.age < 0.2)
    assert says(access, key) == "app"


def test_before_the_first_answer_nobody_knows_whose_key_it_is(
    shelf: Shelf, start: Callable[..., Access], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluicegate.access.current._PATIENCE", 0.05)
    key = create(shelf, "app")
    shelf.hangs.clear()
    access = start(keys=())
    with pytest.raises(KeysUnavailable):
        access.caller([f"Bearer {key}"], [])
    shelf.hangs.set()
    soon(lambda: says(access, key) == "app")
    with pytest.raises(NotAuthenticated):
        access.caller(["Bearer sk-else"], [])


def test_a_store_that_was_put_back_to_an_earlier_state_is_read_anew(shelf: Shelf, start: Callable[..., Access]) -> None:
    first = create(shelf, "first")
    backup = dict(shelf.records)
    second = create(shelf, "second")
    access = start()
    assert says(access, second) == "second"
    shelf.records = backup
    soon(lambda: says(access, second) == "invalid_api_key")
    assert says(access, first) == "first"


def test_a_key_whose_group_is_gone_or_whose_name_is_configured_is_refused_until_it_is_not(
    shelf: Shelf, start: Callable[..., Access]
) -> None:
    blue = msgspec.structs.replace(SETTINGS, groups={"blue": Allowance(requests_per_minute=1)})
    key = str(Register(blue, shelf).create({"name": "app", "group": "blue"})["key"])
    access = start()
    assert says(access, key) == "invalid_api_key"
    access.follow(blue)
    assert says(access, key) == "app"
    access.follow(msgspec.structs.replace(blue, keys=(Key(name="app", key=Secret("sk-another")),)))
    assert [says(access, key), says(access, "sk-another")] == ["invalid_api_key", "app"]


def test_what_a_newer_version_wrote_is_refused(shelf: Shelf, start: Callable[..., Access]) -> None:
    key = create(shelf, "app")
    shelf.records["app"] = msgspec.structs.replace(shelf.records["app"], limits='{"unheard_of": 3}')
    other = create(shelf, "other")
    access = start()
    assert [says(access, key), says(access, other)] == ["invalid_api_key", "other"]


def test_a_key_that_has_not_changed_keeps_its_limits_object(shelf: Shelf, start: Callable[..., Access]) -> None:
    key = create(shelf, "app", requests_per_minute=5)
    access = start()
    before = access.caller([f"Bearer {key}"], []).allowance
    other = create(shelf, "other")
    soon(lambda: says(access, other) == "other")
    assert access.caller([f"Bearer {key}"], []).allowance is before
