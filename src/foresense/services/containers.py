"""Calls of docker. Nothing here or in the callers passes an option or a word that removes a volume."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ruamel.yaml import YAML

from foresense.services import secret_file
from foresense.services.backups import git

PROJECT = "foresense"
COMPOSE_FILE = "compose.yaml"
WITHOUT = (
    "or go on with files and no container: `foresense bridge status`, `foresense pipelines`, "
    "`make serve` for Prefect and MLflow, `foresense backup --embedded`"
)


class ServiceError(RuntimeError):
    """Something that the person at the terminal can repair; the message says how."""


def volumes(root: Path) -> tuple[str, ...]:
    """Names of the volumes that compose.yaml keeps data in."""
    return tuple(part["name"] for part in _compose_file(root)["volumes"].values())


def check_services(root: Path, names: Sequence[str]) -> None:
    """Look whether compose.yaml has these services.

    Args:
        root: Folder of the project.
        names: Of services.

    Raises:
        ServiceError: it has not.
    """
    known = sorted(_compose_file(root)["services"])
    if unknown := sorted(set(names) - set(known)):
        raise ServiceError(f"compose.yaml has no service {unknown}; known: {known}")


def _compose_file(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load((root / COMPOSE_FILE).read_text())
    return found


def tag(root: Path) -> str:
    """The tag of images built from this checkout: its commit, so that an older commit finds its own images again."""
    commit = git(root, "rev-parse", "--short=12", "HEAD")
    if commit is None:
        return "dev"
    return f"{commit}{'-dirty' if git(root, 'status', '--porcelain') else ''}"


@dataclass(frozen=True)
class Docker:
    """The docker of this machine, for the project in `root`."""

    root: Path
    program: str

    @classmethod
    def find(cls, root: Path) -> "Docker":
        """Docker with its compose plugin and a running engine.

        Args:
            root: Folder of the project.

        Raises:
            ServiceError: one of the three is missing, or the project has no compose.yaml.
        """
        if not (root / COMPOSE_FILE).is_file():
            raise ServiceError(
                f"no {COMPOSE_FILE} in {root}: the services are described there; call this in a checkout of foresense, "
                "or name one with `foresense --project <folder> ...`"
            )
        program = shutil.which("docker")
        if program is None:
            raise ServiceError(
                "docker not found on PATH: the services of compose.yaml need Docker Engine with its compose plugin; "
                f"install it, {WITHOUT}"
            )
        docker = cls(root, program)
        if docker.call("compose", "version").returncode != 0:
            raise ServiceError(
                f"{program} has no `compose`: install Docker's compose plugin, version 2.17 or newer "
                f"(`docker compose version` must answer), {WITHOUT}"
            )
        engine = docker.call("version", "--format", "{{.Server.Version}}")
        if engine.returncode != 0:
            raise ServiceError(
                f"no Docker engine answers ({engine.stderr.strip()}): start it, and see that you may use it "
                f"(`docker info` must answer), {WITHOUT}"
            )
        return docker

    def environment(self) -> dict[str, str]:
        """Environment of every call: who the project's files belong to, and the tag of the images."""
        uid, gid = os.getuid(), os.getgid()
        mine = {"FORESENSE_UID": str(uid), "FORESENSE_GID": str(gid)} if uid else {}  # never root in a container
        return mine | {"FORESENSE_TAG": tag(self.root)} | os.environ

    def call(self, *arguments: str, source: Path | None = None, sink: IO[bytes] | None = None) -> "Answer":
        """Run docker and wait.

        Args:
            arguments: Words after `docker`.
            source: File for its standard input.
            sink: Where its standard output goes; absent: into the answer.
        """
        with (source or Path(os.devnull)).open("rb") as given:
            done = subprocess.run(
                [self.program, *arguments],
                cwd=self.root,
                env=self.environment(),
                stdin=given,
                stdout=sink or subprocess.PIPE,
                stderr=subprocess.PIPE,
                check=False,
            )
        return Answer(
            done.returncode, (done.stdout or b"").decode(errors="replace"), done.stderr.decode(errors="replace")
        )

    def must(self, *arguments: str, source: Path | None = None, sink: IO[bytes] | None = None) -> str:
        """The same, for a call that has to succeed.

        Raises:
            ServiceError: it failed; with what docker said.
        """
        answer = self.call(*arguments, source=source, sink=sink)
        if answer.returncode != 0:
            raise ServiceError(
                f"docker {' '.join(arguments[:6])} ... ended with {answer.returncode}: {answer.stderr.strip()}"
            )
        return answer.stdout

    def compose(self, *arguments: str) -> tuple[str, ...]:
        """Words of a call of docker compose on this project.

        Raises:
            ServiceError: there are no passwords yet, so nothing was started from this checkout.
        """
        place = self.root / secret_file.PLACE
        if not place.exists():
            raise ServiceError(
                f"no {secret_file.PLACE} here, so nothing was started from this folder; run: foresense up"
            )
        head = (
            "compose",
            "--project-name",
            PROJECT,
            "--env-file",
            str(place),
            "--file",
            str(self.root / COMPOSE_FILE),
        )
        return (*head, *arguments)

    def shown(self, *arguments: str) -> int:
        """Run docker compose with its words on this terminal; returns its exit code."""
        words = [self.program, *self.compose(*arguments)]
        return subprocess.run(words, cwd=self.root, env=self.environment(), check=False).returncode

    def running(self) -> tuple[str, ...]:
        """Services that run now."""
        # By label, not by `compose ps`: that asks for the passwords, which a machine to restore on has not got yet.
        label = "com.docker.compose"
        words = ("ps", "--filter", f"label={label}.project={PROJECT}", "--format", f'{{{{.Label "{label}.service"}}}}')
        return tuple(self.must(*words).split())

    def states(self) -> dict[str, tuple[str, str]]:
        """State and health of every service of compose.yaml; a service without a container is `absent`."""
        text = self.must(*self.compose("ps", "--all", "--format", "json")).strip()
        # One object a line since compose 2.21, one list before.
        rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
        found = {row["Service"]: (row["State"], row.get("Health") or "-") for row in rows}
        names = self.must(*self.compose("config", "--services")).split()
        return {name: found.get(name, ("absent", "-")) for name in sorted(names)}


@dataclass(frozen=True)
class Answer:
    """What a call of docker gave."""

    returncode: int
    stdout: str
    stderr: str
