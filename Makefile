# OpenMeMa: `make demo` runs the main job, `make test` passes the tests; both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
EXTRAS := faces,diffusion,pipeline,annotation,attributes,segmentation,quality,keyed,dev
CONFIG := configs/demo.yaml
# Methods that the demo benchmarks side by side, each on one core; none waits for another.
JOBS ?= 2
export PATH := $(BIN):$(PATH)
# Nothing here may reach for a network: what is missing is said, never fetched.
export HF_HUB_OFFLINE := 1
export DVC_NO_ANALYTICS := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint clean

help:  ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /\1\t/' | expand -t 10

setup: $(VENV)/.installed  ## Install everything into .venv

# uv resolves and installs in seconds; pip does the same in minutes where uv is not to be had. Compiled once here, or
# where PYTHONDONTWRITEBYTECODE is set every stage would compile its imports again, for half a minute.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	if $(BIN)/python -m pip install --quiet uv; then \
	    $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[$(EXTRAS)]'; \
	else \
	    $(BIN)/python -m pip install -c constraints.txt -e '.[$(EXTRAS)]'; \
	fi
	touch $@

demo: setup  ## Patients' photos to a leaderboard, on the phantom hospital
	dvc repro judge
	dvc status --quiet || dvc stage list --name-only | grep ^benchmark@ | \
	    OMP_NUM_THREADS=1 xargs -n 1 -P $(JOBS) dvc --wait-for-lock repro --single-item
	dvc repro
	mema release publish --replace --config $(CONFIG)
	@echo
	@echo "Leaderboard: $(CURDIR)/runs/demo/leaderboard/index.html"

test: setup  ## Run all tests
	python -m pytest

lint: setup  ## Check style and types
	ruff check .
	ruff format --check .
	mypy

clean:  ## Remove what the stages wrote (not .venv, not data/)
	rm -rf runs private dvc.lock
