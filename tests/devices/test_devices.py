from pathlib import Path

import pytest
from ruamel.yaml import YAML

from foresense.bench.gates import GATES
from foresense.bench.limits import require_known
from foresense.bench.reach import REACHES, why_not_measured
from foresense.config import BenchmarkConfig, ConfigError, DeviceConfig, read_device
from foresense.export import FORMATS

FOLDER = Path(__file__).parents[2] / "devices"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_device_can_be_reached_and_runs_a_known_format(name: str) -> None:
    device = read_device(FOLDER, name)
    assert device.name == name
    assert device.reach in REACHES
    assert set(device.formats) <= {variant.partition("-")[0] for variant in FORMATS}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "host"])
def test_a_board_has_its_limits_and_is_not_claimed_to_be_measured(name: str) -> None:
    device = read_device(FOLDER, name)
    assert None not in (device.memory_mib, device.n_cores, device.clock_ghz, device.max_model_mib)
    assert device.max_model_mib == device.memory_mib / 8
    assert "https://" in device.source
    assert why_not_measured(device) == f"not measured: no host set in devices/{name}.yaml"


def test_the_four_devices_are_there() -> None:
    assert {"host", "pi4", "pi5", "pi_zero2w"} <= set(NAMES)


def test_an_unknown_device_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no device 'pi6'; known: .*pi4"):
        read_device(FOLDER, "pi6")


def test_what_the_guide_shows_can_be_pasted() -> None:
    guide = (FOLDER.parent / "docs" / "adding-a-device.md").read_text()
    shown = [block.partition("```")[0] for block in guide.split("```yaml\n")[1:]]
    device, section = (YAML(typ="safe").load(block) for block in shown)
    assert DeviceConfig.model_validate(device).name == section["benchmark"]["device"]
    require_known(BenchmarkConfig.model_validate(section["benchmark"]).gates, GATES)
