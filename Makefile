# Every target sets up what it needs. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PROFILE ?= paper
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

# An active environment is used as it is; without one, a local .venv is made from the pinned requirements.
ifneq ($(VIRTUAL_ENV)$(CONDA_PREFIX),)
PYTHON := python
READY :=
else
PYTHON := $(CURDIR)/.venv/bin/python
READY := .venv/ready
endif

# One BLAS thread a process, since notebooks run side by side; nothing generated outside build/ and figures/.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export PYTHONPATH := $(CURDIR)
export PYTHONPYCACHEPREFIX := $(CURDIR)/build/pycache
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/build/hypothesis
export JUPYTER_PREFER_ENV_PATH := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1

NOTEBOOKS := $(sort $(basename $(notdir $(wildcard notebooks/*.ipynb))))
FIGURES = $(if $(filter quick,$(PROFILE)),build/quick/figures,figures)

.PHONY: help figures store test lab bench clean $(NOTEBOOKS)

help: ## list the targets
	@echo "make figures              every figure and table, from every notebook that is out of date"
	@echo "make figures PROFILE=quick   the same in seconds, with fewer seeds, under build/quick/"
	@echo "make NOTEBOOK             one notebook: $(NOTEBOOKS)"
	@echo "make test                 unit and property tests, every notebook's outputs, every figure's data"
	@echo "make lab                  JupyterLab on notebooks/"
	@echo "make bench                what a value, a gradient and a linear solve cost on this machine"
	@echo "make store                run the notebooks and keep their outputs in notebooks/"
	@echo "make clean                remove build/ (not figures/, not .venv)"

figures: $(READY) ## every figure and table
	@echo "Running the notebooks, $(PROFILE) profile, $(JOBS) at a time:"
	@$(MAKE) --no-print-directory -k -j$(JOBS) $(NOTEBOOKS)
	@echo "Figures, data and tables: $(FIGURES)/ (listed in $(FIGURES)/manifest.json)"

# A notebook that reads what another one published names it as a prerequisite.
00_overview: 11_comparison

$(NOTEBOOKS): | $(READY)
	@$(PYTHON) notebooks/run.py $@ --profile $(PROFILE) $(addprefix --needs ,$^) $(STORE)

store: $(READY)
	@$(MAKE) --no-print-directory -k -j$(JOBS) $(NOTEBOOKS) STORE=--store

test: $(READY)
	@rm -rf build/test
	$(PYTHON) -m pytest -n $(JOBS) tests
	PEPG_OUTPUT=$(CURDIR)/build/test $(PYTHON) -m pytest -n $(JOBS) --dist loadfile --nbval --nbval-cell-timeout 1200 notebooks
	PEPG_OUTPUT=$(CURDIR)/build/test $(PYTHON) -m pytest tests/regenerated.py

lab: $(READY)
	$(PYTHON) -m jupyterlab notebooks

bench: $(READY)
	@$(PYTHON) tests/bench.py

clean:
	rm -rf build

.venv/ready: requirements.txt pyproject.toml
	@echo "Setting up .venv from requirements.txt (once)"
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	@rm -rf .venv && python3 -m venv .venv
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@
