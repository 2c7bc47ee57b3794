# Every target sets up what it needs. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PROFILE ?= paper
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

# An active environment is used as it is; without one, a local .venv is made from the pinned requirements.
ifneq ($(VIRTUAL_ENV)$(CONDA_PREFIX),)
PYTHON := python
READY := active-environment
else
PYTHON := $(CURDIR)/.venv/bin/python
READY := .venv/ready
endif

# One BLAS thread a process, since notebooks run side by side; nothing generated outside build/ and figures/.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export PYTHONPATH := $(CURDIR)$(if $(OTHER_PROCESSOR),:$(CURDIR)/tests/portable)
export PYTHONDONTWRITEBYTECODE := 1
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/build/hypothesis
export JUPYTER_PREFER_ENV_PATH := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1

NOTEBOOKS := $(sort $(basename $(notdir $(wildcard notebooks/*.ipynb))))
BUILD = $(PYTHON) -m pepg.companion.build --profile $(PROFILE) --jobs $(JOBS)
FIGURES = $(if $(filter quick,$(PROFILE)),build/quick/figures,figures)

.PHONY: help figures store claims new test test-portable lab bench clean active-environment $(NOTEBOOKS)

help:
	@echo "make figures                 every figure and table, from every notebook that is out of date"
	@echo "make figures PROFILE=quick   the same in seconds, with fewer seeds, under build/quick/"
	@echo "make NOTEBOOK                one notebook, with what it reads, e.g. make 11_comparison"
	@echo "make new NAME=my_experiment  a notebook of your own from the template; then make my_experiment"
	@echo "make claims                  every claim of the notebooks: what is stated, and what was measured"
	@echo "make test                    unit and property tests, every notebook's outputs, every figure's data"
	@echo "make test-portable           the same tests as on other processors: without AVX-512, then with SSE alone"
	@echo "make lab                     JupyterLab on notebooks/"
	@echo "make bench                   what a value, a gradient and a linear solve cost on this machine"
	@echo "make store                   run the notebooks and keep their outputs in notebooks/"
	@echo "make clean                   remove build/ (not figures/, not .venv)"
	@echo; echo "Notebooks: $(NOTEBOOKS)"

figures: $(READY)
	@$(BUILD)

$(NOTEBOOKS): | $(READY)
	@$(BUILD) $@

store: $(READY)
	@$(BUILD) --store

claims: $(READY)
	@$(PYTHON) -m pepg.companion.claims $(FIGURES)

new: $(READY)
	@test -n "$(NAME)" || { echo "make new NAME=my_experiment: a name is missing" >&2; exit 1; }
	@$(PYTHON) -m pepg.companion.new -- "$(NAME)"

# What notebooks print is compared where it was stored on such a platform; elsewhere they have to run, and their data is compared.
# The companion's notebooks, whose names start with a digit and not a reader's own; each on one core, the longest first.
test: $(READY)
	@rm -rf build/test build/sweeps/[0-9]*
	$(PYTHON) -m pytest -n $(JOBS) tests
	PEPG_OUTPUT=$(CURDIR)/build/test LOKY_MAX_CPU_COUNT=1 $(PYTHON) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder \
	  $$($(PYTHON) tests/nbval_option.py) --nbval-cell-timeout 1200 $$($(PYTHON) -m pepg.companion.build --order | tr ' ' '\n' | sed -n 's|^[0-9].*|notebooks/&.ipynb|p')
	PEPG_OUTPUT=$(CURDIR)/build/test $(PYTHON) -m pytest tests/regenerated.py

# Numpy, OpenBLAS and PIQP each choose their code by the processor; here they are told to choose that of an older one.
test-portable: $(READY)
	NPY_DISABLE_CPU_FEATURES="X86_V4 AVX512_ICL AVX512_SPR" OPENBLAS_CORETYPE=Haswell $(MAKE) test OTHER_PROCESSOR=AVX2
	NPY_DISABLE_CPU_FEATURES="X86_V3 X86_V4 AVX512_ICL AVX512_SPR" OPENBLAS_CORETYPE=Nehalem $(MAKE) test OTHER_PROCESSOR=SSE

lab: $(READY)
	$(PYTHON) -m jupyterlab notebooks

bench: $(READY)
	@$(PYTHON) tests/bench.py

clean:
	rm -rf build

active-environment:
	@$(PYTHON) -c "import nbval, papermill, pepg.companion.build, piqp, threadpoolctl" || { echo "The active environment ($(VIRTUAL_ENV)$(CONDA_PREFIX)) lacks packages:" \
	  "run 'python -m pip install -r requirements.txt' in it, or deactivate it and make will use a .venv of its own." >&2; exit 1; }

.venv/ready: requirements.txt pyproject.toml
	@echo "Setting up .venv from requirements.txt (once)"
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	@rm -rf .venv && python3 -m venv .venv
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@
