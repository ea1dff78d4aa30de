"""Where a finding is, and what is known there: in the words of the file, of the section that was chosen."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from foresense.config import AnomalyConfig, MixedConfig
from foresense.config.section import Section, problems_of


def found(kind: type[Section], **sections: object) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(sections)
    return [line for line in problems_of(caught.value, kind) if "Field required" not in line]


def test_an_unknown_key_of_a_source_names_those_of_that_source_alone() -> None:
    wav = {"source": "wav_folders", "raw": "motors", "chanel": 1}
    assert found(AnomalyConfig, ingest=wav) == [
        "ingest.chanel: unknown key; did you mean 'channel'? (known: channel, normal, raw, source)"
    ]
    tables = {"source": "csv", "raw": "wards", "interval_s": 60, "channels": [{"name": "x", "unit": "1", "hi": 9}]}
    assert found(MixedConfig, ingest=tables) == [
        "ingest.channels.0.hi: unknown key; did you mean 'high'? "
        "(known: column, found_unit, high, low, name, rule, unit)"
    ]


def test_a_choice_inside_of_lists_and_mappings_is_followed_whatever_their_names() -> None:
    split = {"kind": "folds", "n_fold": 5}
    assert found(AnomalyConfig, window={"splits": {"assets": [split]}})[0] == (
        "window.splits.assets.0.n_fold: unknown key; did you mean 'n_folds'? (known: kind, n_folds, seed, turn, unit)"
    )
    network = {"network": "dense_autoencoder", "widht": 3}
    (line,) = found(AnomalyConfig, train={"candidates": {"small": {"network": network}}})
    assert line == (
        "train.candidates.small.network.widht: unknown key; did you mean 'width'? "
        "(known: latent, n_hidden, n_mels, n_stacked, network, width)"
    )


class Dog(Section):
    kind: Literal["dog"]
    tail_cm: float = 0


class Cat(Section):
    kind: Literal["cat"]
    n_lives: int = 9


class House(Section):
    first: Annotated[Dog | Cat, Field(discriminator="kind")] | None = None
    more: tuple[Annotated[Dog | Cat, Field(discriminator="kind")], ...] | None = None


def test_what_may_be_absent_is_followed_too() -> None:
    assert found(House, first={"kind": "cat", "tail_cm": 3}, more=[{"kind": "dog", "n_lives": 9}]) == [
        "first.tail_cm: unknown key (known: kind, n_lives)",
        "more.0.n_lives: unknown key (known: kind, tail_cm)",
    ]


def test_a_kind_that_is_none_names_the_known_ones() -> None:
    (line,) = found(House, first={"kind": "cow"})
    assert line.startswith(
        "first: Input tag 'cow' found using 'kind' does not match any of the expected tags: 'dog', 'cat'"
    )
