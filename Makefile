# Every target sets up what it needs. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PROFILE ?= paper
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

# An active environment is used as it is; without one, a local .venv is made from the pinned requirements.
ifneq ($(VIRTUAL_ENV)$(CONDA_PREFIX),)
PYTHON := python
READY := active-environment
SITE_READY := active-environment-for-site
else
PYTHON := .venv/bin/python
READY := .venv/ready
SITE_READY := .venv/site-ready
endif

# One BLAS thread a process, since notebooks run side by side; nothing generated outside build/ and figures/; nothing of a user's own
# set-up, start-up files or packages at home, in what the notebooks compute.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export PYTHONPATH := $(CURDIR)$(if $(OTHER_PROCESSOR),:$(CURDIR)/tests/portable)
export PYTHONDONTWRITEBYTECODE := 1
export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/build/hypothesis
export JUPYTER_PREFER_ENV_PATH := 1
export IPYTHONDIR := $(CURDIR)/build/ipython
export PYTHONNOUSERSITE := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1

NOTEBOOKS := $(sort $(basename $(notdir $(wildcard notebooks/*.ipynb))))
BUILD = $(PYTHON) -m pepg.companion.build --profile $(PROFILE) --jobs $(JOBS)
FIGURES = $(if $(filter paper,$(PROFILE)),figures,build/$(PROFILE)/figures)

.PHONY: help figures store claims new check forget test test-notebooks test-portable test-avx2 test-sse lab bench site site-ready serve test-site clean \
  active-environment active-environment-for-site $(NOTEBOOKS)

help:
	@echo "make figures                 every figure and table, from every notebook that is out of date"
	@echo "make figures PROFILE=quick   the same in a minute and a half, with fewer seeds, under build/quick/"
	@echo "make NOTEBOOK                one notebook, with what it reads, e.g. make 11_comparison"
	@echo "make 19_larger_worlds PROFILE=full   that notebook with its longest runs, in some four minutes, under build/full/"
	@echo "make new NAME=my_experiment  a notebook of your own from the template, with FROM=lending another model than its own"
	@echo "make check NAME=...          its environment alone, checked in seconds; make my_experiment runs the whole"
	@echo "make forget NAME=...         take back what it has put into figures/own/"
	@echo "make claims                  every claim of the notebooks: what is stated, and what was measured"
	@echo "make test                    unit and property tests, every notebook's outputs, every figure's data"
	@echo "make test-notebooks          of these the notebooks only, e.g. NOTEBOOKS=\"11_comparison 12_step_size\""
	@echo "make test-portable           the same tests as on other processors: without AVX-512, then with SSE alone"
	@echo "make lab                     JupyterLab on notebooks/ (LAB_ARGS=\"--allow-root --ip=0.0.0.0 --no-browser\" in a container)"
	@echo "make bench                   what a value, a gradient and a linear solve cost on this machine"
	@echo "make site                    the companion as a book of pages, under build/site/; make serve shows it"
	@echo "make test-site               every page of it in a browser (Chromium)"
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
	@$(PYTHON) -m pepg.companion.new $(if $(FROM),--from "$(FROM)") -- "$(NAME)"

# Without the look at all packages of an active environment, which takes longer than the check itself.
check: $(filter .venv/ready,$(READY))
	@test -n "$(NAME)" || { echo "make check NAME=my_experiment: a name is missing" >&2; exit 1; }
	@$(PYTHON) -m pepg.companion.checking -- "$(NAME)"

forget: $(READY)
	@test -n "$(NAME)" || { echo "make forget NAME=my_experiment: a name is missing" >&2; exit 1; }
	@$(PYTHON) -m pepg.companion.forget -- "$(NAME)"

test: $(READY)
	$(PYTHON) -m pytest -n $(JOBS) tests
	@$(MAKE) --no-print-directory test-notebooks

# The companion's notebooks, whose names start with a digit and not a reader's own; each on one core, the longest first. What they save
# and sweep has a place of its own, so that a notebook may run meanwhile.
test-notebooks: export PEPG_OUTPUT := $(CURDIR)/build/test/figures
test-notebooks: export PEPG_SWEEPS := $(CURDIR)/build/test/sweeps
test-notebooks: $(READY)
	@rm -rf build/test
	LOKY_MAX_CPU_COUNT=1 $(PYTHON) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --nbval --nbval-cell-timeout 1200 \
	  $$($(PYTHON) -m pepg.companion.build --order $(NOTEBOOKS) | tr ' ' '\n' | sed -n 's|^[0-9].*|notebooks/&.ipynb|p')
	PEPG_NOTEBOOKS="$(NOTEBOOKS)" $(PYTHON) -m pytest tests/regenerated.py

# Numpy, OpenBLAS and PIQP each choose their code by the processor; here they are told to choose that of an older one.
TESTS ?= test
test-portable: test-avx2 test-sse

test-avx2: $(READY)
	NPY_DISABLE_CPU_FEATURES="X86_V4 AVX512_ICL AVX512_SPR" OPENBLAS_CORETYPE=Haswell $(MAKE) $(TESTS) OTHER_PROCESSOR=AVX2

test-sse: $(READY)
	NPY_DISABLE_CPU_FEATURES="X86_V3 X86_V4 AVX512_ICL AVX512_SPR" OPENBLAS_CORETYPE=Nehalem $(MAKE) $(TESTS) OTHER_PROCESSOR=SSE

lab: $(READY)
	$(PYTHON) -m jupyterlab --ServerApp.root_dir=$(CURDIR) --LabApp.default_url=/lab/tree/notebooks \
	  --FileContentsManager.pre_save_hook=pepg.companion.lab.as_stored $(LAB_ARGS)

bench: $(READY)
	@$(PYTHON) tests/bench.py

site: $(SITE_READY)
	@$(PYTHON) -m book.build

site-ready: $(SITE_READY)

PORT ?= 8000
serve: site
	@echo "http://localhost:$(PORT) shows the book; Ctrl-C ends it"
	@$(PYTHON) -m http.server --bind 127.0.0.1 --directory build/site $(PORT) 2>/dev/null

test-site: site
	$(PYTHON) -m pytest -n $(JOBS) tests/book_in_a_browser.py

clean:
	rm -rf build

active-environment:
	@$(PYTHON) pepg/companion/versions.py || { echo "The active environment ($(VIRTUAL_ENV)$(CONDA_PREFIX)) is not what the companion needs:" \
	  "run 'python -m pip install -r requirements.txt' in it, or deactivate it and make will use a .venv of its own." >&2; exit 1; }

active-environment-for-site: active-environment
	@$(PYTHON) -c "import mathjax, myst_nb, playwright, sphinx, sphinx_book_theme, vl_convert" || { echo "The active environment ($(VIRTUAL_ENV)$(CONDA_PREFIX)) lacks" \
	  "what the book takes: run 'python -m pip install -r book/requirements.txt' in it, or deactivate it." >&2; exit 1; }

# A link to the environment in use. A new one is made beside it and takes its place when it is whole: offline, or killed, the old one stays.
.venv/ready: requirements.txt pyproject.toml
	@echo "Setting up .venv from requirements.txt: about a minute, once"
	@python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15) and "Python 3.11 to 3.14 is needed, this is " + sys.version)'
	@find . -maxdepth 1 -name '.venv-*' -mtime +1 ! -name "$$(readlink .venv)" -exec rm -rf {} +
	@set -o pipefail; new=$$(mktemp -d .venv-XXXXXX) && trap 'test -e $$new/ready || rm -rf $$new' EXIT && chmod 755 $$new && \
	  python3 -m venv $$new && \
	  $$new/bin/python -m pip install --disable-pip-version-check -r requirements.txt | awk -v of=$$(grep -c == requirements.txt) ' \
	    /^Collecting/ { printf "\r  %d of at most %d packages fetched", ++n, of; fflush() } \
	    /^Installing/ { printf "\n  installing them ...\n"; fflush() }' && \
	  $$new/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e . && touch $$new/ready && \
	  { old=$$(readlink .venv); test -n "$$old" || rm -rf .venv; } && ln -sfn $$new .venv && { test -z "$$old" || rm -rf "$$old"; }

.venv/site-ready: .venv/ready book/requirements.txt
	@echo "Adding what the book takes from book/requirements.txt (once)"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -r book/requirements.txt
	@touch $@
