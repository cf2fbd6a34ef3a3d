"""Who asks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import pytest

from sluicegate.config import Key, Secret
from sluicegate.errors import BadRequest, NotAuthenticated, RequestFailed
from sluicegate.policy.key_format import complete
from sluicegate.policy.keys import ANYONE, Caller, Grant, KeyRing, credential, digest_of, fits

DEV = "sk-dev-0123456789"
OPS = "sk-ops-0123456789"
RING = KeyRing([Key(name="dev", key=Secret(DEV), models=("fast",)), Key(name="ops", key=Secret(OPS))])
NOW = 1_795_348_800.0
INJECTION = "' OR '1'='1"


@pytest.mark.parametrize(
    "presented, name",
    [
        (DEV, "dev"),
        (OPS, "ops"),
        (DEV.upper(), None),
        (DEV[:-1], None),
        (DEV + " ", None),
        ("", None),
        (INJECTION, None),
        ("\0", None),
        (f"{DEV}\0", None),
        ("x" * 1_000_000, None),
        ("\ud800", None),
        ("é", None),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_key_is_its_callers_or_nobodys(presented: str, name: str | None) -> None:
    caller = RING.authenticate(presented, NOW)

    assert name == (caller.name if caller else None)


@given(st.text())
def test_no_text_makes_it_fail(presented: str) -> None:
    assert RING.authenticate(presented, NOW) is None


def test_without_keys_anyone_may_ask() -> None:
    ring = KeyRing([])

    assert ring.open
    assert ANYONE is ring.authenticate("sk-whatever", NOW)
    assert ANYONE.may_use("any/model")


def test_keys_are_not_kept() -> None:
    assert not RING.open
    assert DEV not in repr(vars(RING))


FITS = [
    ("fast", "fast", True),
    ("fast", "Fast", False),
    ("fast", "faster", False),
    ("*", "fast", True),
    ("*", "a/b/c", True),
    ("*", "", False),
    ("openai/*", "openai/gpt-4o", True),
    ("openai/*", "openai/a/b", True),
    ("openai/*", "openai/", False),
    ("openai/*", "openai", False),
    ("openai/*", "openaix/gpt-4o", False),
    ("openai/*", "openai/*", True),
]


@pytest.mark.parametrize("pattern, model, expected", FITS)
def test_patterns(pattern: str, model: str, expected: bool) -> None:
    assert expected == fits(pattern, model)
    assert expected == Caller("dev", ("other", pattern)).may_use(model)


@pytest.mark.parametrize(
    "authorization, x_api_key, expected",
    [
        (["Bearer sk-1"], [], "sk-1"),
        (["bearer sk-1"], [], "sk-1"),
        (["BEARER   sk-1"], [], "sk-1"),
        ([" Bearer sk-1\t"], [], "sk-1"),
        ([], ["sk-1"], "sk-1"),
        ([], [" sk-1 "], "sk-1"),
        (["Bearer sk-1"], ["sk-1"], "sk-1"),
    ],
)
def test_a_credential_comes_from_either_header(authorization: list[str], x_api_key: list[str], expected: str) -> None:
    assert expected == credential(authorization, x_api_key)


@pytest.mark.parametrize(
    "authorization, x_api_key, fault, code",
    [
        ([], [], NotAuthenticated, "missing_api_key"),
        ([""], [], NotAuthenticated, "invalid_api_key"),
        (["sk-1"], [], NotAuthenticated, "invalid_api_key"),
        (["Bearer"], [], NotAuthenticated, "invalid_api_key"),
        (["Bearer "], [], NotAuthenticated, "invalid_api_key"),
        (["Bearer\tsk-1"], [], NotAuthenticated, "invalid_api_key"),
        (["Bearer sk-1 sk-2"], [], NotAuthenticated, "invalid_api_key"),
        (["Bearer sk-1, Bearer sk-2"], [], NotAuthenticated, "invalid_api_key"),
        (["Basic c2stMQ=="], [], NotAuthenticated, "invalid_api_key"),
        (["Bearer sk-\0"], [], NotAuthenticated, "invalid_api_key"),
        (["Bearer sk-é"], [], NotAuthenticated, "invalid_api_key"),
        ([], [""], NotAuthenticated, "invalid_api_key"),
        ([], [INJECTION], NotAuthenticated, "invalid_api_key"),
        (["Bearer sk-1", "Bearer sk-1"], [], BadRequest, "duplicate_api_key"),
        ([], ["sk-1", "sk-1"], BadRequest, "duplicate_api_key"),
        (["Bearer sk-1"], ["sk-2"], BadRequest, "duplicate_api_key"),
    ],
)
def test_a_credential_is_refused(
    authorization: list[str], x_api_key: list[str], fault: type[RequestFailed], code: str
) -> None:
    with pytest.raises(fault) as refused:
        credential(authorization, x_api_key)

    assert code == refused.value.code
    assert all("sk-" not in text for text in (refused.value.message, str(refused.value), repr(refused.value)))


MADE = complete("sk-sg-", "0123456789" * 3 + "ab")


def test_a_stored_key_is_known_by_its_digest_until_it_expires() -> None:
    ring = KeyRing([], [Grant(digest_of(MADE), Caller("app", ("*",)), until=NOW)])

    before, after = ring.authenticate(MADE, NOW - 0.001), ring.authenticate(MADE, NOW)

    assert ("app", None) == (before and before.name, after)


def test_what_is_misspelt_is_refused_though_its_digest_is_known() -> None:
    wrong = MADE[:-1] + "x"
    ring = KeyRing([], [Grant(digest_of(wrong), Caller("app", ("*",)))])

    assert ring.authenticate(wrong, NOW) is None


def test_a_configured_key_may_begin_as_ours_do_and_end_otherwise() -> None:
    ring = KeyRing([Key(name="odd", key=Secret("sk-sg-mine"))], [Grant(digest_of(MADE), Caller("app", ("*",)))])

    found = [ring.authenticate(key, NOW) for key in ("sk-sg-mine", MADE, "sk-sg-other")]

    assert ["odd", "app", None] == [caller and caller.name for caller in found]


def test_closed_means_that_nobody_asks_without_a_key() -> None:
    ring = KeyRing([], closed=True)

    assert not ring.open
    assert ring.authenticate(MADE, NOW) is None
