# make demo   see a zero-shot open-vocabulary model evaluated, with images
# make test   the test suite
# make mutants   break the code in one place at a time, and see that a test notices (about 40 minutes)
# make lint   ruff (rules and format) and mypy
# All install what they need into $(VENV) first. A Detectron2 that is already in $(VENV) is used as it is.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv pip install --python $(BIN)/python -c constraints.txt --override overrides.txt
STAMP  := $(VENV)/.zsseg_d2_installed
TOOLS  := $(VENV)/.zsseg_d2_dev_tools

.PHONY: demo test mutants lint install clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(BIN)/python tools/demo.py

# Tests start many processes: without byte code on disk, each would compile torch and the rest anew. Three workers keep two
# cores busy while some wait for such a process. In the order of their names, the last files are short, so that no worker
# waits long for another at the end.
test: $(STAMP)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -rfEs -n 3 --dist loadfile --no-loadscope-reorder tests

mutants: $(STAMP)
	$(BIN)/python tests/mutants/run.py

lint: $(TOOLS)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

install: $(STAMP)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11)' 2>/dev/null || \
	  { echo "zsseg_d2 needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Python's venv module is missing; on Debian or Ubuntu: apt-get install python3-venv"; exit 1; }

# An environment that has a Detectron2 keeps its torch and everything else that satisfies pyproject.toml.
$(STAMP): pyproject.toml setup.py constraints.txt overrides.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	@if $(BIN)/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("detectron2") is None)' && \
	    ! $(BIN)/python -m pip show --quiet detectron2-cdo 2>/dev/null; then \
	  echo "Using the Detectron2 that is installed in $(VENV)."; \
	  $(BIN)/uv pip install --python $(BIN)/python --override overrides.txt -e '.[test]'; \
	else \
	  set -e; \
	  $(UV) torch torchvision setuptools wheel; \
	  $(UV) --no-build-isolation --no-deps -C--global-option=build_py -C--build-option=--skip-build detectron2-cdo==0.5; \
	  $(UV) --no-build-isolation -e '.[test]'; \
	fi
	@touch $@

$(TOOLS): $(STAMP)
	$(BIN)/uv pip install --python $(BIN)/python -c constraints.txt --override overrides.txt --no-build-isolation -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) output build *.egg-info
