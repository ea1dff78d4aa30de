"""OpenSSH's own client, which is never asked for a password; what goes wrong is said with what to do about it."""

import shlex
import subprocess
from pathlib import Path

from foresense.bench.reach import WorkerError
from foresense.config import DeviceConfig

#: Exit code of ssh itself, as against that of the command on the device.
SSH_FAILED = 255

#: Not asked of a person, to nobody whose key is unknown, and without this machine's agent, ports or screen, whatever
#: ~/.ssh/config says of that host.
GUARDED = (
    "BatchMode=yes",
    "ConnectTimeout=10",
    "StrictHostKeyChecking=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
)

#: What ssh says, in lower case -> what to do.
ADVICE = {
    "permission denied": "the device does not know this key: set key_file, and put its .pub into "
    "~/.ssh/authorized_keys there",
    "host key verification failed": "the device's key is not the one in known_hosts: look at it, then add it with "
    "ssh-keyscan",
    "no such file or directory": "a file is missing: look at key_file and known_hosts",
    "could not resolve": "no such name: look at host",
    "connection refused": "no ssh server listens there: look at host and port",
    "timed out": "no answer: is it switched on, is the address right?",
    "no route": "no way there: is it on this network?",
}


class DeviceError(WorkerError):
    """A device cannot be reached, or did not do what it was asked."""


def options(device: DeviceConfig) -> list[str]:
    """Options for ssh and scp: no prompt of any kind, only hosts whose key is known, nothing forwarded to them."""
    words = [word for option in GUARDED for word in ("-o", option)]
    if device.known_hosts is not None:
        words += ["-o", f'UserKnownHostsFile="{device.known_hosts.expanduser()}"']
    if device.key_file is not None:
        words += ["-o", "IdentitiesOnly=yes", "-i", str(device.key_file.expanduser())]
    if device.port is not None:
        words += ["-o", f"Port={device.port}"]
    return words


def host_of(device: DeviceConfig) -> str:
    """The device's host.

    Raises:
        DeviceError: none is set, or one that ssh would take for an option.
    """
    if not device.host or device.host.startswith("-"):
        raise DeviceError(f"{device.name}: no usable host in devices/{device.name}.yaml, found {device.host!r}")
    return device.host


def python_of(device: DeviceConfig) -> str:
    """The device's Python as a word of a shell command there."""
    home, rest = ('"$HOME"/', device.python[2:]) if device.python.startswith("~/") else ("", device.python)
    return home + shlex.quote(rest)


def ssh(device: DeviceConfig, command: str, *, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a shell command there; the exit code is the command's own.

    Raises:
        DeviceError: the device cannot be reached, or does not end in time.
    """
    return _run(device, ["ssh", *options(device), host_of(device), command], timeout_s)


def scp_to(device: DeviceConfig, files: list[Path], folder: str, *, timeout_s: float) -> None:
    """Copy files into a folder there.

    Raises:
        DeviceError: the device cannot be reached, or refuses a file.
    """
    words = ["scp", "-q", *options(device), *map(str, files), f"{host_of(device)}:{folder}/"]
    done = _run(device, words, timeout_s)
    if done.returncode:
        raise DeviceError(f"{device.name}: copying failed with exit code {done.returncode}: {last_lines(done)}")


def last_lines(done: subprocess.CompletedProcess[str]) -> str:
    """The end of what a command said, in one line."""
    return " ".join((done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-3:])


def _run(device: DeviceConfig, words: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except FileNotFoundError as error:
        raise DeviceError(f"{words[0]}: no such program; install an OpenSSH client to reach devices") from error
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"{device.name}: {words[0]} {device.host} did not end within {timeout_s:g} s") from error
    if done.returncode == SSH_FAILED:
        said = last_lines(done)
        advice = next((what for words_of, what in ADVICE.items() if words_of in said.lower()), "see `man ssh`")
        raise DeviceError(f"{device.name}: {words[0]} {device.host} failed: {said}; {advice}")
    return done
