"""The nouns of the engine: a job goes in, one outcome for each of its assets comes out."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

Status = Literal["success", "skipped", "failed"]

_KINDS: dict[str, type | tuple[type, ...]] = {
    "asset": str,
    "digest": str,
    "status": str,
    "reason": str,
    "log": (str, type(None)),
    "seconds": (int, float),
    "peak_rss_mib": (int, float),
    "n_tries": int,
    "worker": str,
    "result": dict,
    "resumed": bool,
}


class SkippedError(ValueError):
    """Raised by a function that has no use for its one asset; the text is the reason: "1102 of 1920 hours"."""


@dataclass(frozen=True)
class Skipped:
    """What a function gives for an asset that it has no use for, beside results of others in the same job."""

    reason: str


@dataclass(frozen=True)
class Job:
    """One call of the function; may cover several assets at once.

    Attributes:
        assets: Names of assets: any text that UTF-8 can hold, each once.
        digests: One for each asset: of (data, parameters, code, seed).
        arguments: JSON; what the function gets beside the names.
    """

    assets: tuple[str, ...]
    digests: tuple[str, ...]
    arguments: dict[str, Any]

    def __post_init__(self) -> None:
        if not self.assets:
            raise ValueError("a job needs at least one asset, found none")
        if len(self.assets) != len(self.digests):
            raise ValueError(
                f"job of {shown(self.assets)}: one digest for each asset expected, "
                f"found {len(self.digests)} for {len(self.assets)}"
            )
        if len(set(self.assets)) != len(self.assets):
            raise ValueError(f"job of {shown(self.assets)}: an asset is in it twice")
        for asset in self.assets:
            if not asset or any(0xD800 <= ord(letter) <= 0xDFFF for letter in asset):
                raise ValueError(f"asset {asset!r}: expected a name, some text that UTF-8 can hold")
        try:
            json.dumps(self.arguments, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"job of {shown(self.assets)}: its arguments are not JSON: {error}") from error


@dataclass(frozen=True)
class Outcome:
    """What became of one asset.

    Attributes:
        asset: Its name.
        digest: Of (data, parameters, code, seed), as its job had it.
        status: `success`, `skipped` or `failed`.
        reason: Why it was skipped or failed, one line; empty for success.
        log: File with what the worker printed meanwhile; None where nothing was caught (engine `here`).
        seconds: Wall time of the call; of a job of several assets its equal share.
        peak_rss_mib: Most resident memory of the worker and its child processes during the job, MiB; memory that
            processes share counts once for each.
        n_tries: Calls of the function for this asset and digest so far, those of earlier starts included.
        worker: "host/process id" of the worker.
        result: What the function gave for this asset.
        resumed: Known from an earlier start; the function was not called now.
    """

    asset: str
    digest: str
    status: Status
    reason: str
    log: str | None
    seconds: float
    peak_rss_mib: float
    n_tries: int
    worker: str
    result: dict[str, Any]
    resumed: bool = False

    def as_json(self) -> dict[str, Any]:
        """A JSON object with every field."""
        return asdict(self)


def outcome_from_json(content: object) -> Outcome:
    """The outcome that `Outcome.as_json` wrote.

    Raises:
        ValueError: it is not one; says which field.
    """
    if not isinstance(content, dict):
        raise ValueError(f"an outcome is a JSON object, found {type(content).__name__}")
    names = [field.name for field in fields(Outcome)]
    if sorted(content) != sorted(names):
        raise ValueError(f"an outcome has the fields {sorted(names)}, found {sorted(content)}")
    for name, kind in _KINDS.items():
        if not isinstance(content[name], kind):
            raise ValueError(f"field {name!r} of an outcome: found {content[name]!r}")
    if content["status"] not in get_args(Status):
        raise ValueError(f"status of an outcome: expected one of {get_args(Status)}, found {content['status']!r}")
    return Outcome(**content)


@dataclass(frozen=True)
class Work:
    """A job without its finished assets, and how often the function was called for each before."""

    job: Job
    tries: tuple[int, ...]

    def apart(self) -> tuple["Work", ...]:
        """Work of one asset each, after one more try."""
        return tuple(
            Work(Job((asset,), (digest,), self.job.arguments), (tries + 1,))
            for asset, digest, tries in zip(self.job.assets, self.job.digests, self.tries, strict=True)
        )


def shown(assets: tuple[str, ...]) -> str:
    """Names of assets for a message: a few of them, and how many more there are."""
    names = ", ".join(asset if len(asset) <= 60 else asset[:57] + "..." for asset in assets[:3])
    return names if len(assets) <= 3 else f"{names} and {len(assets) - 3} more"
