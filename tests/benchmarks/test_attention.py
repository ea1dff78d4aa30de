"""The comparison of two attentions fails when they are two functions, and times what it says."""

import torch

from benchmarks import attention
from benchmarks.attention import apart, both_ways, difference, differences, forward, inputs, microseconds, written


def test_the_two_are_one_function_at_the_sizes_of_the_wrist() -> None:
    for n_tokens in (10, 12):
        found = [
            {"case": "one", "has_gradients": way is both_ways, "max_relative_difference": differences(way, n_tokens)}
            for way in (forward, both_ways)
        ]
        assert apart(found) == []


def test_an_attention_that_forgets_the_width_is_found_in_both_number_types(monkeypatch) -> None:
    def unscaled(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return (query @ key.transpose(-2, -1)).softmax(-1) @ value

    monkeypatch.setattr(attention, "written", unscaled)
    row = {"case": "one", "has_gradients": False, "max_relative_difference": differences(forward, 12)}
    assert [line.split()[-1] for line in apart([row])] == ["float32", "float64"]


def test_differences_are_shares_of_the_largest_number() -> None:
    assert difference((torch.tensor([4.0, -8.0]),), (torch.tensor([4.0, -6.0]),)) == 0.25


def test_gradients_are_those_of_half_the_squares() -> None:
    query, key, value = inputs(3, torch.float64)
    mixed, _, _, of_value = both_ways(written, (query, key, value))
    weights = (query @ key.transpose(-2, -1) / 28**0.5).softmax(-1)
    torch.testing.assert_close(of_value, weights.transpose(-2, -1) @ mixed)


def test_a_call_takes_its_microseconds(monkeypatch) -> None:
    now = iter(range(100))
    monkeypatch.setattr(attention.time, "perf_counter", lambda: 0.05 * next(now))
    assert microseconds(lambda: None) == 0.2 / 3 * 1e6  # three calls until 0.2 s have passed
