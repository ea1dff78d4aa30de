"""What became of the versions of one asset: every promotion, refusal and rollback, in order; functions over it."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Literal, Self

Kind = Literal["promotion", "refusal", "rollback", "moved"]
#: Kinds after which another version is the champion.
MOVING: tuple[Kind, ...] = ("promotion", "rollback", "moved")


@dataclass(frozen=True)
class Event:
    """One decision about an asset.

    Attributes:
        kind: `moved`: the alias was found on another version than the history says; someone set it in MLflow.
        when_utc: ISO 8601.
        who: A user's name, or `night`.
        reason: In words.
        from_version: Champion before; None where there was none.
        to_version: Champion afterwards; of a refusal: the version that was refused.
        night: `YYYY-MM-DD` of the night that decided; None where a person did.
        overrules: Reason of the refusal that a person set aside; None where there was none.
        is_done: The alias has been set; False while a process is between the two writes, or died there.
    """

    kind: Kind
    when_utc: str
    who: str
    reason: str
    from_version: int | None
    to_version: int | None
    night: str | None = None
    overrules: str | None = None
    is_done: bool = True

    def as_text(self) -> str:
        """One line of JSON, for a tag of MLflow."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `as_text` wrote."""
        return cls(**json.loads(text))

    def done(self) -> Self:
        """The same, finished."""
        return replace(self, is_done=True)


def new_event(
    kind: Kind,
    who: str,
    reason: str,
    before: int | None,
    after: int | None,
    night: str | None = None,
    overrules: str | None = None,
) -> Event:
    """A decision of now."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return Event(kind, now, who, reason.strip(), before, after, night, overrules)


def champions(events: Iterable[Event]) -> tuple[int, ...]:
    """The champions that a rollback can go back through, oldest first; the last one is the champion now.

    A promotion lays a version on the pile, a rollback takes the uppermost away, so that rolling back twice goes back
    twice. A version that was set by other means lies on the pile like a promoted one.
    """
    pile: list[int] = []
    for event in events:
        if event.kind == "rollback":
            pile = pile[:-1]
        elif event.kind == "moved" and event.to_version is None:
            pile = []
        elif event.kind in MOVING and event.to_version is not None:
            pile.append(event.to_version)
    return tuple(pile)


def rolled_back(events: Sequence[Event]) -> frozenset[int]:
    """Versions that a person took back and nobody has promoted since."""
    out: set[int] = set()
    for event in events:
        if event.kind == "rollback" and event.from_version is not None:
            out.add(event.from_version)
        elif event.kind == "promotion":
            out.discard(event.to_version or 0)
    return frozenset(out)


def last_refusal(events: Sequence[Event], version: int) -> Event | None:
    """The newest refusal of a version, unless it was promoted after that."""
    for event in reversed(events):
        if event.to_version == version and event.kind in ("promotion", "refusal"):
            return event if event.kind == "refusal" else None
    return None


def needed_versions(events: Sequence[Event], challenger: int | None, depth: int) -> frozenset[int]:
    """Versions that must not be deleted.

    They are the champion, as many champions before it as a rollback may go back, the challenger, and what the evidence
    on any of these refers to: the champion that it was compared with.

    Args:
        events: The whole history of the asset.
        challenger: Version under that alias.
        depth: Champions before the one now that stay.
    """
    pile = champions(events)
    kept = set(pile[-1 - depth :]) | ({challenger} if challenger is not None else set())
    compared = {event.from_version for event in events if event.to_version in kept and event.kind != "rollback"}
    return frozenset(kept | {number for number in compared if number is not None})
