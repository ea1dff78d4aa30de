import re

import pytest

from foresense.bench.verdict import ACCEPTED, REJECTED, add_quality_drop, judge_variants, worst_of


def facts(*, p50: float = 10.0, drop: float = 0.0, deterministic: bool = True) -> dict:
    return {
        "latency_ms": {"p50": p50, "p95": 2 * p50},
        "quality_drop": drop,
        "quality": {"mse": 0.5 * (1 + drop)},
        "deterministic": deterministic,
    }


@pytest.mark.parametrize(
    ("int8", "reason"),
    [
        (facts(p50=119.0), r"rejected: slower than float32 \(119 ms vs 10 ms\)"),
        (facts(drop=0.032), r"rejected: quality drop 3\.20% \(MSE 0\.516\), at most 1%"),
        (facts(drop=float("nan")), r"rejected: quality drop nan%"),
        (facts(deterministic=False), "rejected: two processes gave different outputs"),
        (facts(p50=119.0, drop=0.5), "slower than float32 .*; quality drop 50"),
    ],
)
def test_what_is_worse_than_float32_is_rejected_and_says_why(int8: dict, reason: str) -> None:
    verdicts = judge_variants({"tflite-float32": facts(), "tflite-int8": int8})
    assert verdicts["tflite-float32"][0] == ACCEPTED
    verdict, said = verdicts["tflite-int8"]
    assert verdict == REJECTED
    assert re.match(f".*{reason}", said)


def test_formats_are_compared_with_their_own_float32() -> None:
    verdicts = judge_variants(
        {"onnx-float32": facts(p50=5), "tflite-float32": facts(p50=9), "tflite-int8": facts(p50=8)}
    )
    assert {verdict for verdict, _ in verdicts.values()} == {ACCEPTED}


def test_noise_of_two_medians_rejects_nothing() -> None:
    assert judge_variants({"onnx-float32": facts(), "onnx-int8": facts(p50=10.4)})["onnx-int8"][0] == ACCEPTED
    assert judge_variants({"onnx-float32": facts(), "onnx-int8": facts(p50=10.6)})["onnx-int8"][0] == REJECTED


def test_quality_drop_is_relative_to_the_model_or_to_float32_on_the_same_windows() -> None:
    variants = {"onnx-float32": {"quality": {"mse": 0.2}}, "onnx-int8": {"quality": {"mse": 0.25}}}
    add_quality_drop(variants, 0.5, all_windows=True)
    assert variants["onnx-int8"]["quality_drop"] == pytest.approx(-0.5)
    add_quality_drop(variants, 0.5, all_windows=False)
    assert variants["onnx-int8"]["quality_drop"] == pytest.approx(0.25)
    assert variants["onnx-int8"]["quality_reference"] == "the float32 file on the same windows"


def test_the_worst_group_counts() -> None:
    def group(p50: float, verdict: str) -> dict:
        return {"onnx-int8": {**facts(p50=p50), "verdict": verdict, "reason": f"{verdict}: {p50} ms"}}

    worst = worst_of({"lathe": group(10, ACCEPTED), "mill": group(30, REJECTED), "robot": group(20, ACCEPTED)})
    assert worst["onnx-int8"]["latency_ms"] == {"p50": 30, "p95": 60}
    assert worst["onnx-int8"]["verdict"] == REJECTED
    assert worst["onnx-int8"]["reason"] == "mill: rejected: 30 ms"


@pytest.mark.parametrize("order", [("lathe", "mill"), ("mill", "lathe")])
def test_a_group_whose_file_the_device_refuses_leaves_the_numbers_of_the_other(order: tuple[str, str]) -> None:
    groups = {
        "lathe": {"onnx-int8": {"size_mib": 1.0, **facts(), "verdict": ACCEPTED, "reason": "accepted"}},
        "mill": {"onnx-int8": {"size_mib": 9.0, "verdict": REJECTED, "reason": "rejected: 9.0 MiB"}},
    }
    worst = worst_of({name: groups[name] for name in order})["onnx-int8"]
    assert worst["size_mib"] == 9.0
    assert worst["latency_ms"] == {"p50": 10.0, "p95": 20.0}
    assert (worst["verdict"], worst["reason"]) == (REJECTED, "mill: rejected: 9.0 MiB")


def test_a_variant_that_one_group_lacks_cannot_ship() -> None:
    both = {"onnx-float32": {**facts(), "verdict": ACCEPTED, "reason": ""}}
    assert list(worst_of({"a": {**both, "onnx-int8": both["onnx-float32"]}, "b": both})) == ["onnx-float32"]
