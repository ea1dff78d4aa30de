import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.config import SplitConfig
from foresense.signals import PARTS, SignalError
from foresense.windows import cut_rows

ETT = SplitConfig(unit="rows", train=8640, validation=2880, test=2880)


@pytest.mark.parametrize("context", [336, 512])
def test_etth1_at_horizon_96_has_its_published_2785_test_windows(context):
    cuts = cut_rows(14400, ETT, context=context, horizon=96, asset="ETTh1")
    low, high = cuts.starts("test", context=context, horizon=96)
    assert high - low == 2785
    assert low + context == 11520


def test_an_80_20_split_of_2400_rows_gives_the_481_training_windows_of_the_spec():
    # spec FX-8: cut at 1920; 481 training windows of 1200 + 240
    split = SplitConfig(train=0.8, validation=0.1, test=0.1)
    cuts = cut_rows(2400, split, context=1200, horizon=240, asset="lathe")
    low, high = cuts.starts("train", context=1200, horizon=240)
    assert (cuts.train_end, high - low) == (1920, 481)


def test_1920_rows_are_just_enough_for_one_window_in_each_part():
    split = SplitConfig(unit="rows", train=1440, validation=240, test=240)
    cuts = cut_rows(1920, split, context=1200, horizon=240, asset="lathe")
    counts = [high - low for low, high in (cuts.starts(part, context=1200, horizon=240) for part in PARTS)]
    assert counts == [1, 1, 1]


def test_too_few_rows_are_refused_with_both_numbers_and_the_asset():
    with pytest.raises(SignalError, match=r"asset 'lathe': 1919 rows, but 1920 are needed .* bring 1 more rows"):
        cut_rows(1919, SplitConfig(), context=1200, horizon=240, asset="lathe")


def test_a_part_that_holds_no_window_says_what_to_change():
    with pytest.raises(
        SignalError, match=r"the train part has 1344 of 1920 rows, .* needs 1440 .*window\.split\.train"
    ):
        cut_rows(1920, SplitConfig(), context=1200, horizon=240, asset="lathe")
    narrow = SplitConfig(train=0.9, validation=0.05, test=0.05)
    with pytest.raises(SignalError, match=r"the validation part has 120 of 2400 rows, .* needs 240 .*window\.horizon"):
        cut_rows(2400, narrow, context=1200, horizon=240, asset="lathe")


def test_counted_rows_that_are_not_there_are_refused():
    with pytest.raises(SignalError, match=r"8640 \+ 2880 \+ 2880 = 14400 rows, found 14399"):
        cut_rows(14399, ETT, context=512, horizon=96, asset="ETTh1")


def test_rows_after_the_counted_parts_are_unused():
    cuts = cut_rows(17420, ETT, context=512, horizon=96, asset="ETTh1")
    assert cuts.test_end == 14400


@settings(deadline=None, max_examples=200)
@given(
    n_rows=st.integers(10, 5000),
    train=st.integers(1, 98),
    validation=st.integers(1, 98),
    context=st.integers(1, 400),
    horizon=st.integers(1, 200),
)
def test_shares_are_kept_to_a_row_and_no_target_leaves_its_part(n_rows, train, validation, context, horizon):
    if train + validation > 99:
        return
    test = 100 - train - validation
    split = SplitConfig(train=train / 100, validation=validation / 100, test=test / 100)
    try:
        cuts = cut_rows(n_rows, split, context=context, horizon=horizon, asset="a")
    except SignalError:
        # whole-number arithmetic, so that the refusal is judged without floats
        ends = [n_rows * train // 100, n_rows * (train + validation) // 100, n_rows]
        too_few = n_rows < context + 3 * horizon
        no_room = ends[0] < context + horizon or ends[1] - ends[0] < horizon or ends[2] - ends[1] < horizon
        assert too_few or no_room
        return
    assert cuts.train_end == n_rows * train // 100
    assert cuts.validation_end == n_rows * (train + validation) // 100
    for part in PARTS:
        first, end = cuts.rows(part)
        low, high = cuts.starts(part, context=context, horizon=horizon)
        assert low >= 0
        assert low + context >= first
        assert high - 1 + context + horizon <= end
    assert cuts.starts("train", context=context, horizon=horizon)[1] - 1 + context + horizon <= cuts.train_end
