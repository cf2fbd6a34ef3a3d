"""What a key looks like that is made here."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import pytest

from sluicegate.policy.key_format import ALPHABET, RANDOM, complete, shown, well_formed

KEY = complete("sk-sg-", "0123456789" * 3 + "ab")
RANDOMS = st.text(alphabet=ALPHABET, min_size=RANDOM, max_size=RANDOM)


def test_a_key_is_prefix_chance_and_check() -> None:
    assert ("sk-sg-0123456789012345678901234567ab"[:6], 44, "sk-sg-0123") == (KEY[:6], len(KEY), shown(KEY, "sk-sg-"))


@given(RANDOMS, st.sampled_from(["sk-sg-", "cai_api_"]))
def test_what_is_made_is_well_formed(random: str, prefix: str) -> None:
    assert well_formed(complete(prefix, random), prefix)


@given(RANDOMS, st.integers(min_value=6, max_value=43), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_noticed(random: str, place: int, other: str) -> None:
    key = complete("sk-sg-", random)
    changed = key[:place] + other + key[place + 1 :]

    assert (changed == key) == well_formed(changed, "sk-sg-")


WRONG = {
    "empty": "",
    "the prefix alone": "sk-sg-",
    "cut": KEY[:-1],
    "longer": KEY + "0",
    "a line more": KEY + "\n",
    "another alphabet": KEY[:20] + "é" + KEY[21:],
    "other digits": KEY[:20] + "\N{ARABIC-INDIC DIGIT ONE}" + KEY[21:],
    "a quote": "sk-sg-' OR '1'='1" + "0" * 27,
    "a surrogate": KEY[:-1] + "\ud800",
    "a megabyte": "sk-sg-" + "0" * 1_000_000,
}


@pytest.mark.parametrize("key", WRONG.values(), ids=WRONG)
def test_garbage_is_no_key(key: str) -> None:
    assert not well_formed(key, "sk-sg-")
