"""Names and histories: laws that hold for any of them."""

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_model_name

from foresense.registry import Event, champions, last_refusal, needed_versions, registered_name, rolled_back
from foresense.registry.history import Kind

names = st.text(min_size=1, max_size=12)


@given(st.tuples(names, names), st.tuples(names, names))
def test_different_assets_have_different_names_that_mlflow_takes(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (registered_name(*one) == registered_name(*other)) == (one == other)
    _validate_model_name(registered_name(*one))
    assert registered_name(*one).count(".") == 1


def test_a_plain_name_stays_readable() -> None:
    assert registered_name("plant", "lathe-1_spindle") == "plant.lathe-1_spindle"
    assert registered_name("a.b", "c") == "a~2eb.c"


def event(kind: Kind, before: int | None, after: int | None) -> Event:
    return Event(kind, "2026-03-01T00:00:00+00:00", "ada", 'why "so" → ü', before, after)


@given(st.sampled_from(["promotion", "refusal", "rollback", "moved"]), st.none() | st.integers(1), st.booleans())
def test_an_event_survives_being_written(kind: Kind, before: int | None, is_done: bool) -> None:
    one = Event(kind, "2026", "ada", "why\n'→ü", before, 3, night="2026-03-01", overrules=None, is_done=is_done)
    assert Event.from_text(one.as_text()) == one
    assert one.done().is_done


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.data())
def test_rolling_back_goes_through_the_promotions_in_reverse(promoted: list[int], data: st.DataObject) -> None:
    events = [event("promotion", before, after) for before, after in zip([None, *promoted], promoted, strict=False)]
    assert champions(events) == tuple(promoted)
    n_back = data.draw(st.integers(0, len(promoted) - 1))
    for k in range(n_back):
        events.append(event("rollback", promoted[-1 - k], promoted[-2 - k]))
        events.append(event("refusal", promoted[-2 - k], 99))
    assert champions(events) == tuple(promoted[: len(promoted) - n_back])


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12, unique=True), st.integers(0, 4), st.integers(31, 40))
def test_needed_are_champions_within_the_depth_the_challenger_and_what_they_were_compared_with(
    promoted: list[int], depth: int, challenger: int
) -> None:
    events = [event("promotion", before, after) for before, after in zip([None, *promoted], promoted, strict=False)]
    events.append(event("refusal", promoted[-1], challenger))
    needed = needed_versions(events, challenger, depth)
    assert needed == frozenset({*promoted[-2 - depth :], challenger})  # one more: the evidence of the oldest names it
    assert needed_versions(events, None, depth) == frozenset(promoted[-2 - depth :])


def test_a_version_is_taken_back_until_someone_promotes_it_again() -> None:
    events = [event("promotion", None, 1), event("promotion", 1, 2), event("rollback", 2, 1)]
    assert rolled_back(events) == {2}
    assert rolled_back([*events, event("refusal", 1, 2)]) == {2}
    assert rolled_back([*events, event("promotion", 1, 2)]) == set()


def test_a_refusal_counts_until_the_version_is_promoted() -> None:
    refused = event("refusal", 1, 2)
    assert last_refusal([refused, event("refusal", 1, 3)], 2) == refused
    assert last_refusal([refused, event("promotion", 1, 2)], 2) is None
    assert last_refusal([], 2) is None


def test_an_alias_taken_away_leaves_no_champion() -> None:
    events = [event("promotion", None, 1), event("moved", 1, None)]
    assert champions(events) == ()
    assert champions([*events, event("promotion", None, 2)]) == (2,)
