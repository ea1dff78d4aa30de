"""`foresense benchmark <pipeline> --device <name>`: the smoke test of `pi/` on a device, compared with here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foresense.bench.lock import measuring
from foresense.bench.pi import compare, run_smoke_test
from foresense.config import ConfigError, read_any, read_device
from foresense.config.anomaly_pipeline import AnomalyConfig
from foresense.export.device import smoke_test
from foresense.signals import Layout, read_json, write_json
from foresense.steps.benchmark_anomaly import QUALITY, SMOKE_TEST
from foresense.steps.export_anomaly import PI


@dataclass(frozen=True)
class DeviceSmoke:
    """What a device found, beside what this machine found.

    Attributes:
        device: Its name.
        result: What its smoke test says.
        compared: Model -> how it differs from this machine.
        path: Where all of it stands.
    """

    device: str
    result: dict[str, Any]
    compared: dict[str, dict[str, Any]]
    path: Path

    @property
    def passed(self) -> bool:
        """Every test and gate passed; what was not measured did not."""
        return bool(self.result["passed"])

    def __str__(self) -> str:
        """The table of the smoke test, and how the device differs from this machine."""
        tests, gates = (
            f"{self.result[f'n_{kind}_passed']}/{len(self.result[kind])} {kind}" for kind in ("tests", "gates")
        )
        lines = [*smoke_test.table_of(self.result), "", f"{self.device}: {tests}, {gates} passed; {self.path}"]
        for name, facts in self.compared.items():
            ratio = facts["latency_ratio"]
            slower = "no time measured" if ratio is None else f"p50 {ratio['p50']:.2f} x, p95 {ratio['p95']:.2f} x host"
            same = "same bits as here" if facts["same_bits"] else f"differs by {facts['golden_max_abs_error']:.3g}"
            lines.append(f"{name}: {slower}; {same}, allowed {facts['tolerance']:.3g}")
        return "\n".join(lines)


def smoke_on_device(layout: Layout, pipeline: str, name: str) -> DeviceSmoke:
    """Copy `exports/<pipeline>/pi` to a device, run its smoke test there, bring the result back, and compare.

    Args:
        layout: Where files are.
        pipeline: One with `kind: anomaly` whose step `benchmark` has finished.
        name: A file in `devices/`.

    Returns:
        What was found, also in `reports/<pipeline>/device-<name>.json`. A device without a host was not measured, and
        nothing passes.

    Raises:
        ConfigError: no such pipeline or device, or a pipeline without a folder for a device.
        FileNotFoundError: export or benchmark has not finished; says which command to run.
        DeviceError: the device cannot be reached, or gave no result.
    """
    config = read_any(layout.project / "params.yaml", pipeline)
    if not isinstance(config, AnomalyConfig):
        raise ConfigError(
            f"--device: {pipeline!r} is of the kind {config.kind!r}, which builds no folder for a device; set "
            "benchmark.device in params.yaml instead"
        )
    device = read_device(layout.devices, name)
    paths = layout.of(pipeline)
    folder = paths.exports / PI
    for path in (paths.reports / QUALITY, paths.reports / SMOKE_TEST):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: not there; run `foresense benchmark {pipeline}` first")
    with measuring():
        result = run_smoke_test(device, folder, read_json(paths.reports / QUALITY)["models"])
    compared = compare(read_json(folder / "manifest.json"), read_json(paths.reports / SMOKE_TEST), result)
    path = paths.reports / f"device-{name}.json"
    write_json(path, {"device": name, "compared_with_host": compared, **result})
    return DeviceSmoke(name, result, compared, path)
