"""Stretches of time that hold no more than fits into memory."""

from collections.abc import Callable, Iterator, Sequence

from foresense.stores.batch import SeriesStore

#: Values that are held at once; a value is 8 bytes here and some 100 in the answer of a server.
N_VALUES = 500_000


def slices(
    count: Callable[[int, int], int], is_wanted: Callable[[int, int], bool], start_ns: int, end_ns: int
) -> Iterator[tuple[int, int]]:
    """Halve a stretch of time until each half holds no more than `N_VALUES`; in order of time.

    Args:
        count: How many values lie in [start, end).
        is_wanted: Whether anything there is of interest; where not, it is left out.
        start_ns: Nanoseconds since 1970 UTC.
        end_ns: The same; excluded.
    """
    if start_ns >= end_ns or not is_wanted(start_ns, end_ns):
        return
    if end_ns - start_ns == 1 or count(start_ns, end_ns) <= N_VALUES:
        yield start_ns, end_ns
        return
    middle_ns = (start_ns + end_ns) // 2
    yield from slices(count, is_wanted, start_ns, middle_ns)
    yield from slices(count, is_wanted, middle_ns, end_ns)


def slices_with(
    stores: Sequence[SeriesStore], asset: str, channels: Sequence[str], start_ns: int, end_ns: int
) -> Iterator[tuple[int, int]]:
    """Stretches in which the first of `stores` has one of `channels`, and none of them more than `N_VALUES`."""
    known = [(store, store.channels()) for store in stores]
    yield from slices(
        lambda start, end: max(store.n_values(asset, start, end, names) for store, names in known),
        lambda start, end: stores[0].n_values(asset, start, end, channels) > 0,
        start_ns,
        end_ns,
    )
