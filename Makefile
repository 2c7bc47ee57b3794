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
export PYTHONPATH := $(CURDIR)
export PYTHONDONTWRITEBYTECODE := 1
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/build/hypothesis
export JUPYTER_PREFER_ENV_PATH := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1

NOTEBOOKS := $(sort $(basename $(notdir $(wildcard notebooks/*.ipynb))))
LONGEST := 17_local_optima 14_finite_samples 11_comparison 06_convergence 15_baseline_fidelity 16_released_program 18_strength 12_step_size
COMPANION := $(sort $(wildcard notebooks/[0-9][0-9]_*.ipynb))# and not those of a reader's own
ORDERED := $(filter $(NOTEBOOKS),$(LONGEST)) $(filter-out $(LONGEST),$(NOTEBOOKS))# the longest first, so that the cores end together
FIGURES = $(if $(filter quick,$(PROFILE)),build/quick/figures,figures)

.PHONY: help figures store new test lab bench clean active-environment $(NOTEBOOKS)

help:
	@echo "make figures                 every figure and table, from every notebook that is out of date"
	@echo "make figures PROFILE=quick   the same in seconds, with fewer seeds, under build/quick/"
	@echo "make NOTEBOOK                one notebook, with what it reads, e.g. make 11_comparison"
	@echo "make new NAME=my_experiment  a notebook of your own from the template; then make my_experiment"
	@echo "make test                    unit and property tests, every notebook's outputs, every figure's data"
	@echo "make lab                     JupyterLab on notebooks/"
	@echo "make bench                   what a value, a gradient and a linear solve cost on this machine"
	@echo "make store                   run the notebooks and keep their outputs in notebooks/"
	@echo "make clean                   remove build/ (not figures/, not .venv)"
	@echo; echo "Notebooks: $(NOTEBOOKS)"

figures: $(READY)
	@echo "Running the notebooks, $(PROFILE) profile, $(JOBS) at a time:"
	@$(MAKE) --no-print-directory -k -j$(JOBS) $(ORDERED)
	@echo "Figures, data and tables: $(FIGURES)/ (listed in $(FIGURES)/manifest.json)"

# A notebook that reads what another one published names it as a prerequisite.
00_overview: 11_comparison
11_comparison: 17_local_optima
07_summary: 01_performative_mdps 02_performance_difference 03_policy_gradient_theorem \
  04_entropy_regularisation 05_gradient_domination 06_convergence

$(NOTEBOOKS): | $(READY)
	@$(PYTHON) notebooks/run.py $@ --profile $(PROFILE) $(addprefix --needs ,$^) $(STORE)

store: $(READY)
	@$(MAKE) --no-print-directory -k -j$(JOBS) $(ORDERED) STORE=--store

new: $(READY)
	@test -n "$(NAME)" || { echo "make new NAME=my_experiment: a name is missing" >&2; exit 1; }
	@$(PYTHON) notebooks/new.py -- "$(NAME)"

test: $(READY)
	@rm -rf build/test build/sweeps/[0-9]*
	$(PYTHON) -m pytest -n $(JOBS) tests
	PEPG_OUTPUT=$(CURDIR)/build/test $(PYTHON) -m pytest -n $(JOBS) --dist loadfile --nbval --nbval-cell-timeout 1200 $(COMPANION)
	PEPG_OUTPUT=$(CURDIR)/build/test $(PYTHON) -m pytest tests/regenerated.py

lab: $(READY)
	$(PYTHON) -m jupyterlab notebooks

bench: $(READY)
	@$(PYTHON) tests/bench.py

clean:
	rm -rf build

active-environment:
	@$(PYTHON) -c "import nbval, papermill, pepg.figures, piqp" || { echo "The active environment ($(VIRTUAL_ENV)$(CONDA_PREFIX)) lacks packages:" \
	  "run 'python -m pip install -r requirements.txt' in it, or deactivate it and make will use a .venv of its own." >&2; exit 1; }

.venv/ready: requirements.txt pyproject.toml
	@echo "Setting up .venv from requirements.txt (once)"
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	@rm -rf .venv && python3 -m venv .venv
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@
