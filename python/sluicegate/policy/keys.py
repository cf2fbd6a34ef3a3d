"""Who asks: the credential of a request, the caller it belongs to, and what that caller may use.

Rules: a key is kept as its BLAKE2b-256 only: a random key needs no slow hash, and OpenSSL's SHA-256 takes twice as
long. It is found by that digest and compared in
constant time. A credential is any text a client may send, so nothing here raises on one but :func:`credential`, whose
errors never repeat it. What begins as the keys that are made here do and does not end as they do
(:mod:`sluicegate.policy.key_format`) is nobody's, unseen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b as _blake2b
from hmac import compare_digest
import math
import re
from types import MappingProxyType

from sluicegate.config import DEFAULT_KEY_PREFIX, Allowance, Key, StoredKey
from sluicegate.errors import BadRequest, NotAuthenticated
from sluicegate.policy.key_format import well_formed

_BEARER = re.compile(r"bearer +([!-~]+)", re.ASCII | re.IGNORECASE)
_TOKEN = re.compile(r"[!-~]+", re.ASCII)


ANY_MODEL = ("*",)


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """Who asks. ``models`` are names; ``prefix/*`` is all below, ``*`` is all. None is equal to another.

    ``allowance`` is how much it may use, None if that is not limited; ``group`` has limits of its own. ``stored``: its
    key is in the store, which may have more to say of it.
    """

    name: str
    models: tuple[str, ...]
    group: str = ""
    allowance: Allowance | None = None
    stored: bool = False

    def may_use(self, model: str) -> bool:
        """Whether this caller may ask for a model, by the name it sends."""
        if self.models == ANY_MODEL:
            return True
        return any(fits(pattern, model) for pattern in self.models)


#: Who asks where no keys are configured, which only loopback allows.
ANYONE = Caller("", ANY_MODEL)


@dataclass(frozen=True, slots=True)
class Grant:
    """A key that is known by its digest alone, and good until a time (Unix seconds)."""

    digest: bytes
    caller: Caller
    until: float = math.inf


class KeyRing:
    """The keys of one configuration, and those of the store, as digests. Never changes.

    ``prefix`` is what the keys begin with that are made here. ``closed``: nobody may ask without a key, though there be
    none.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        grants: Iterable[Grant] = (),
        *,
        prefix: str = DEFAULT_KEY_PREFIX,
        closed: bool = False,
    ) -> None:
        known = {grant.digest: (grant.digest, grant.caller, grant.until) for grant in grants}
        for key in keys:
            digest = digest_of(key.key.reveal())
            known[digest] = (digest, caller_of(key), math.inf)
        self._known: Mapping[bytes, tuple[bytes, Caller | None, float]] = MappingProxyType(known)
        # Where a configured key begins as ours do and does not end so, nothing can be refused unseen.
        odd = any(
            text.startswith(prefix) and not well_formed(text, prefix) for key in keys if (text := key.key.reveal())
        )
        self._prefix = "\0" if odd else prefix
        #: Whether there are no keys, so that anyone may ask and no credential is looked at.
        self.open = not known and not closed

    def caller(self, authorization: Sequence[str], x_api_key: Sequence[str], now: float) -> Caller:
        """Return whose credential a request presents; :data:`ANYONE`, without a look, where there are no keys.

        ``now`` is Unix time. Raises as :func:`credential`, and NotAuthenticated ``invalid_api_key`` for one that is
        nobody's.
        """
        if self.open:
            return ANYONE
        if not x_api_key and len(authorization) == 1 and (value := authorization[0]).startswith("Bearer "):
            # As nearly all present it: what is a known key to the byte needs no closer look.
            digest = _blake2b(value[7:].encode("utf-8", "surrogatepass"), digest_size=32).digest()
            known, caller, until = self._known.get(digest, _NOBODY)
            if caller is not None and compare_digest(known, digest) and now < until:
                return caller
        caller = self.authenticate(credential(authorization, x_api_key), now)
        if caller is None:
            raise NotAuthenticated("invalid_api_key", "The API key is not known here; check it.")
        return caller

    def authenticate(self, presented: str, now: float) -> Caller | None:
        """Return whose key this is at a time (Unix seconds), or None; :data:`ANYONE` where there are no keys."""
        if self.open:
            return ANYONE
        if presented.startswith(self._prefix) and not well_formed(presented, self._prefix):
            return None
        digest = digest_of(presented)
        known, caller, until = self._known.get(digest, _NOBODY)
        return caller if compare_digest(known, digest) and now < until else None


_NOBODY: tuple[bytes, Caller | None, float] = (b"", None, 0.0)


def credential(authorization: Sequence[str], x_api_key: Sequence[str]) -> str:
    """Return the key that a request presents, from all its ``Authorization`` and ``x-api-key`` values.

    Either header will do; both may stand there if they say the same. Raises NotAuthenticated: ``missing_api_key``,
    ``invalid_api_key`` (not a Bearer credential, or not visible ASCII). Raises BadRequest: ``duplicate_api_key``
    (a header twice, or two that differ), since two readers would disagree about who asks.
    """
    if len(authorization) > 1 or len(x_api_key) > 1:
        raise BadRequest("duplicate_api_key", "The request carries its API key header more than once; send it once.")
    if not x_api_key and authorization:
        return _bearer(authorization[0])
    presented = {*(_bearer(value) for value in authorization), *(_plain(value) for value in x_api_key)}
    if not presented:
        raise NotAuthenticated(
            "missing_api_key", "No API key was sent; send it as 'Authorization: Bearer KEY' or as 'x-api-key: KEY'."
        )
    if len(presented) > 1:
        raise BadRequest("duplicate_api_key", "Authorization and x-api-key carry different API keys; send one of them.")
    return presented.pop()


def fits(pattern: str, model: str) -> bool:
    """Whether a model's name is the pattern, or below it (``prefix/*``), or any (``*``)."""
    if pattern.endswith("*"):
        return len(model) >= len(pattern) and model.startswith(pattern[:-1])
    return pattern == model


def caller_of(key: Key | StoredKey) -> Caller:
    """Give whose key it is."""
    limited = any(getattr(key, name) not in (None, ()) for name in Allowance.__struct_fields__)
    return Caller(key.name, key.models, key.group or "", key if limited else None, isinstance(key, StoredKey))


def _bearer(value: str) -> str:
    found = _BEARER.fullmatch(value.strip(" \t"))
    if found is None:
        raise NotAuthenticated("invalid_api_key", "The Authorization header is not 'Bearer' followed by an API key.")
    return found[1]


def _plain(value: str) -> str:
    if _TOKEN.fullmatch(stripped := value.strip(" \t")) is None:
        raise NotAuthenticated("invalid_api_key", "The x-api-key header is not an API key.")
    return stripped


def digest_of(key: str) -> bytes:
    """Give what is kept of a key."""
    return _blake2b(key.encode("utf-8", "surrogatepass"), digest_size=32).digest()
