# Everything starts here: `make` lists the targets. Each target sets up .venv from nothing; a second call installs nothing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PYTHON := $(VENV)/bin/python
TORCH := torch==2.13.0
# On a machine whose pip would fetch the CUDA build of torch: make setup TORCH_INDEX=<address of a CPU index>
TORCH_INDEX ?=
FOUND := $(shell for name in python3.12 python3.11 python3; do \
	if "$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; \
	then command -v "$$name"; break; fi; done)

# Nothing reports to anyone.
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export HF_HUB_OFFLINE := 1
export ITERATIVE_DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help setup demo test coverage test-long test-arm servers check format code serve lock licences audit
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## / \t/' | expand -t 12

setup: $(VENV)/.ready  ## .venv with every package at its locked version (5 GB, 2 to 10 minutes)

$(VENV)/.ready: requirements.lock pyproject.toml
	@if [ -z "$(FOUND)" ]; then \
		echo "no Python 3.11 or 3.12 found as python3.12, python3.11 or python3: install one (Debian, Ubuntu:" \
			"apt-get install python3.11 python3.11-venv), then call make again" >&2; exit 1; fi
	@command -v git >/dev/null || { echo "git not found: DVC and the reports need it; install it" >&2; exit 1; }
	@echo "setting up $(VENV) with $(FOUND): about 5 GB, 2 to 10 minutes"
	@[ -x $(PYTHON) ] || "$(FOUND)" -m venv $(VENV) || { echo "no venv module: install python3-venv" >&2; exit 1; }
	$(PYTHON) -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	$(PYTHON) -m pip install --quiet uv==0.13.8
	$(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(PYTHON) --no-deps -r requirements.lock
	$(VENV)/bin/uv pip install --quiet --python $(PYTHON) --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup  ## the whole road on one simulated machine: Prefect, DVC and MLflow really at work, in runs/demo
	@$(PYTHON) -m tools.demo

# One thread for each of the processes that share the cores: with two of them spinning, small networks took 40 times as long.
test: setup servers  ## all tests but those that need a device or the internet
	@OMP_NUM_THREADS=1 $(PYTHON) -m pytest -q -n logical --maxprocesses 4 --dist loadfile

coverage: setup servers  ## the tests with every branch of src counted; lines to look at in runs/coverage/html (20 minutes)
	@OMP_NUM_THREADS=1 $(PYTHON) -m tools.branches -n logical --maxprocesses 4 --dist loadfile

test-long: setup servers  ## the tests that take minutes: every task of a night killed, a Spark cluster that loses a worker
	@$(PYTHON) -m pytest -q -m long

test-arm: setup  ## the Pi folders in exports/ on emulated ARM: answers proved, speed not claimed (root; 8 minutes the first time)
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		! { command -v debootstrap && [ -e /usr/lib/binfmt.d/qemu-aarch64.conf ]; } >/dev/null; then \
		apt-get install -y -qq --no-install-recommends debootstrap qemu-user-static >/dev/null 2>&1 || true; fi
	@$(PYTHON) -m tools.arm

# where systemd runs, the package openssh-server would open a door to the machine: it is installed in containers only
servers:  ## the real broker, stores and ssh server that tests start: Debian packages, installed where that is allowed
	@missing=; ssh=; [ -d /run/systemd/system ] || ssh=sshd:openssh-server; \
	for found in mosquitto:mosquitto influxd:influxdb victoria-metrics:victoria-metrics $$ssh; do \
		PATH="$$PATH:/usr/sbin" command -v "$${found%%:*}" >/dev/null || missing="$$missing $${found##*:}"; done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
			{ apt-get install -y -qq --no-install-recommends $$missing >/dev/null 2>&1 || \
			{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing; } >/dev/null 2>&1; }; \
		then echo "installed$$missing"; \
		else echo "tests against real servers are skipped: install the Debian packages$$missing"; fi; fi

check: setup  ## format, lint, types, import contracts, code digest, DVC graph, README, licences
	@$(VENV)/bin/ruff format --check src flows tasks tools tests benchmarks
	@$(VENV)/bin/ruff check src flows tasks tools tests benchmarks
	@$(VENV)/bin/mypy
	@PYTHONPATH=. $(VENV)/bin/lint-imports --no-cache
	@$(PYTHON) -m tools.code_digest --check
	@$(PYTHON) -m tools.check_graph
	@$(PYTHON) -m tools.readme --check
	@$(PYTHON) -m tools.licences --check

format: setup  ## put the code into shape
	@$(VENV)/bin/ruff format src flows tasks tools tests benchmarks
	@$(VENV)/bin/ruff check --fix src flows tasks tools tests benchmarks

code: setup  ## write code.json, the digest of the code that each step can reach
	@$(PYTHON) -m tools.code_digest

serve: setup  ## Prefect server, worker and deployments, and the MLflow page; ends with Ctrl-C
	@$(PYTHON) -m tools.serve

lock: setup  ## bring requirements.lock up to pyproject.toml; versions that still fit stay
	@$(PYTHON) -m tools.lock

licences: setup  ## the licence of every installed package, and those that a person has to look at
	@$(PYTHON) -m tools.licences

audit: setup  ## known vulnerabilities of every locked package; needs the internet
	@$(PYTHON) -m tools.audit
