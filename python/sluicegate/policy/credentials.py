"""Which of an upstream's credentials a request uses.

Rules: they take turns by weight. One that was told to wait rests that long; one that was refused is retired: it rests
for the cool-down, then a single request probes it, and only its success brings it back. Resting makes a credential the
last choice, not a forbidden one: where all rest, the one whose rest ends first is used, since the upstream may think
better of it, and a request refused by us would surely fail.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from sluicegate.config import Credential


@dataclass(slots=True)
class _Standing:
    """How one credential stands; ``until`` is 0 while it may be used."""

    credential: Credential
    turn: int = 0
    until: float = 0.0
    retired: bool = False


@dataclass(frozen=True, slots=True)
class CredentialReport:
    """How a credential stands, by its name: for how many more seconds it rests, if it does."""

    name: str
    state: Literal["ready", "paused", "retired"]
    rests: float | None


class Credentials:
    """The credentials of one upstream. ``rest``: seconds that a refused one rests before it is probed."""

    def __init__(self, credentials: Sequence[Credential], rest: float) -> None:
        self._standings = {credential.name: _Standing(credential) for credential in credentials}
        #: The one there is; None if there are several.
        self.only: Credential | None = credentials[0] if len(credentials) == 1 else None
        self._rest = rest
        self._resting = 0

    def pick(self, now: float) -> Credential:
        """The one whose turn it is."""
        if self.only is not None:
            return self.only
        chosen = self._rested(now, ())
        if chosen is None:
            chosen = min(self._standings.values(), key=lambda standing: standing.until)
        return chosen.credential

    def another(self, now: float, tried: Collection[str]) -> Credential | None:
        """One that does not rest and is not among ``tried`` (names); None if there is none."""
        chosen = self._rested(now, tried) if self.only is None else None
        return chosen.credential if chosen is not None else None

    def rests(self, now: float) -> bool:
        """Whether all of them rest."""
        return self._resting > 0 and all(standing.until > now for standing in self._standings.values())

    def pause(self, name: str, until: float) -> None:
        """It was told to wait until then."""
        standing = self._standings[name]
        self._resting += standing.until == 0
        standing.until = max(standing.until, until)

    def retire(self, name: str, now: float) -> None:
        """It was refused."""
        standing = self._standings[name]
        self._resting += standing.until == 0
        standing.until = now + self._rest
        standing.retired = True

    def worked(self, name: str) -> None:
        """It was accepted: if it was retired, it is back. A pause ends by its time alone."""
        if self._resting and (standing := self._standings[name]).retired:
            self._resting -= 1
            standing.until, standing.retired = 0.0, False

    def report(self, now: float) -> list[CredentialReport]:
        """How each of them stands."""
        found = []
        for name, standing in self._standings.items():
            rests = max(0.0, standing.until - now)
            if standing.retired:
                found.append(CredentialReport(name, "retired", rests))
            elif rests:
                found.append(CredentialReport(name, "paused", rests))
            else:
                found.append(CredentialReport(name, "ready", None))
        return found

    def _rested(self, now: float, tried: Collection[str]) -> _Standing | None:
        """The next by smooth weighted turns, as nginx takes them: spread evenly, not in runs."""
        best: _Standing | None = None
        weight = 0
        for standing in self._standings.values():
            if standing.until > now or standing.credential.name in tried:
                continue
            weight += standing.credential.weight
            standing.turn += standing.credential.weight
            if best is None or standing.turn > best.turn:
                best = standing
        if best is None:
            return None
        best.turn -= weight
        if best.retired:
            best.until = now + self._rest  # this request is the probe; the others go on resting meanwhile
        elif best.until:
            best.until = 0.0
            self._resting -= 1
        return best
