"""What stands beside the models in the folder for a Raspberry Pi: README, packages, systemd unit. ASCII only."""

from importlib.metadata import version
from typing import Any

#: smoke_test.py itself, beside the process that it measures; the system counts both.
SCRIPT_MIB = 64


def unit_name(pipeline: str) -> str:
    """Name of the systemd unit: `foresense-thermal.service`."""
    return f"foresense-{pipeline}.service"


def requirements_text() -> str:
    """Packages for `pip install -r`: the runtime that made the golden vectors, the last older one for Python 3.9.

    On Windows psutil tells a process its memory, without which that test cannot pass.
    """
    return (
        f'ai-edge-litert=={version("ai-edge-litert")} ; python_version >= "3.10"\n'
        'numpy>=1.26,<3 ; python_version >= "3.10"\n'
        'tflite-runtime==2.14.0 ; python_version < "3.10"\n'
        'numpy>=1.23,<2 ; python_version < "3.10"\n'
        'psutil>=5.9 ; sys_platform == "win32"\n'
    )


def unit_text(pipeline: str, manifest: dict[str, Any]) -> str:
    """A systemd unit that runs the smoke test at each start, held to the memory limit by the system itself.

    Each pipeline has a folder of its own for the result: units of two start at once, each as a user of its own, and
    systemd hands a shared folder from one to the other while they write.
    """
    limits = manifest["limits"]
    return f"""[Unit]
Description=Smoke test of the foresense models of {pipeline}

[Service]
Type=oneshot
DynamicUser=yes
StateDirectory=foresense-{pipeline}
Environment=PATH=/opt/foresense/venv/bin:/usr/bin:/bin
ExecStart=/usr/bin/env python3 /opt/foresense/{pipeline}/smoke_test.py --output {_result(pipeline)}
MemoryMax={limits["memory_mib"] + SCRIPT_MIB:.0f}M
TimeoutStartSec={4 * limits["duration_s"]:.0f}
NoNewPrivileges=yes
ProtectHome=yes
ProtectSystem=strict
PrivateNetwork=yes

[Install]
WantedBy=multi-user.target
"""


def readme_text(manifest: dict[str, Any]) -> str:
    """What a person who has only this folder needs; deterministic."""
    pipeline, limits, plan = manifest["pipeline"], manifest["limits"], manifest["plan"]
    unit = unit_name(pipeline)
    models = "\n".join(
        f"| {name} | `{said['file']}` | {said['size_mib']:.3f} | {said['max_size_mib']:g} "
        f"| {tuple(said['input_shape'])} | {tuple(said['output_shape'])} |"
        for name, said in manifest["models"].items()
    )
    return f"""# {pipeline}: models for a Raspberry Pi

Runs alone: Python 3.9 or newer, numpy and a TFLite runtime; nothing of foresense.

    python3 -m venv venv
    venv/bin/python -m pip install -r requirements_pi.txt
    venv/bin/python smoke_test.py

The smoke test prints a table and writes `smoke_test.json`. It exits 0 when every test and every gate passed, else 1.
What could not be measured did not pass. Quality needs the whole test part, which is not here: the benchmark of the
pipeline measures it on these very files, and `quality.json` (copied into this folder, or `--quality FILE`) carries
the figure.

| model | file | MiB | at most | input | output |
| --- | --- | ---: | ---: | --- | --- |
{models}

Inputs and outputs are float32 for the caller; a file with int8 doors is quantized by the scale that stands in it.
`*_golden.npz` holds windows and what each file said of them where it was made.

| limit | |
| --- | --- |
| 95th percentile of one inference, {plan["n_timed"]} runs after {plan["n_warmup"]}, {plan["n_threads"]} thread(s) \
| {limits["latency_ms"]:g} ms |
| peak memory of a process with all models | {limits["memory_mib"]:g} MiB |
| growth of that peak while a model runs | {limits["growth_mib"]:g} MiB |
| loss of score against the model | {limits["quality_drop"]:g} |
| the whole smoke test | {limits["duration_s"]:g} s |

Outputs must be the same, bit by bit, in three processes and with {plan["n_threads_other"]} threads, and as the golden
vectors within `tolerance` of `manifest.json`.

## At every start, by systemd

    sudo mkdir -p /opt/foresense
    sudo cp -r . /opt/foresense/{pipeline}
    sudo python3 -m venv /opt/foresense/venv
    sudo /opt/foresense/venv/bin/python -m pip install -r requirements_pi.txt
    sudo cp {unit} /etc/systemd/system/
    sudo systemctl enable --now {unit}
    journalctl -u {unit}

`quality.json` has to lie in this folder before it is copied: without it the gate of quality fails at every start. The
result stands in `{_result(pipeline)}`.
"""


def _result(pipeline: str) -> str:
    return f"/var/lib/foresense-{pipeline}/smoke_test.json"
