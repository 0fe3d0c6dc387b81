# Every target works alone in a fresh clone; it makes its own virtual environment.
PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BARE := .venv-notorch
PAGES := .venv-docs
TORCH ?= 2.9.1
OTHER := .venv-torch-$(TORCH)
PY := $(VENV)/bin/python

OFFLINE := numpy pyarrow polars pydantic click rich jinja2
PICTURES := matplotlib
CHECKS := pytest pytest-xdist hypothesis mypy ruff
DEMO := torch==2.13.0 scikit-learn loguru tqdm
NETWORKS := scipy transformers
SITE := mkdocs-material
# Other libraries that tests compare with, and what these import; without them those tests are skipped.
PEERS := snntorch norse nir nirtorch h5py qualia-core qualia-plugin-snn qualia-codegen-core \
         qualia-codegen-plugin-snn lightning lightning-utilities torchmetrics tomlkit tabulate \
         sinabs pbr neurobench sanafe accelerate psutil duckdb pandas
# Counts on GPUs; tests interpret its kernels on the CPU. There are builds for Linux only.
KERNELS := triton

# What is compiled where there is a C compiler; without one NumPy does the same.
BUILT_FROM := setup.py tracer/_statistics.c

# Where this is set, each process compiles PyTorch and Polars anew: seconds every time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test lint typing notorch docs versions bench clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo  ## train a small spiking network on digits, record it, count and cost it
	$(PY) -m opjoule.cli demo

# One thread a worker: more would wait for each other on the cores that the workers share.
test: $(VENV)/.installed  ## run the whole test suite
	OMP_NUM_THREADS=1 POLARS_MAX_THREADS=1 $(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed typing  ## ruff (rules and format) and mypy --strict
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# Type checkers cannot follow an editable install, so they get the package's name as a link.
typing:
	@mkdir -p build/typing && ln -sfn ../.. build/typing/opjoule

notorch: $(BARE)/.installed  ## analyze a stored trace where PyTorch is not installed
	@if $(BARE)/bin/python -c 'import torch' 2>/dev/null; then \
	    echo "$(BARE) has torch: this check proves nothing" >&2; exit 1; fi
	$(BARE)/bin/python -m pytest tests/offline

docs: $(PAGES)/.installed  ## the documents as a site that needs no network, in build/site
	NO_MKDOCS_2_WARNING=1 $(PAGES)/bin/python -m mkdocs build -q --strict

versions: $(OTHER)/.installed  ## the recorder's tests with another PyTorch: make versions TORCH=2.14.1
	$(OTHER)/bin/python -m pytest -n $(JOBS) --dist loadfile tests/tracer

bench: $(VENV)/.installed  ## measure the recording overhead and the analysis
	$(PY) benchmarks/run.py

clean:  ## remove the virtual environments, caches and builds
	rm -rf $(VENV) $(BARE) $(PAGES) .venv-torch-* build dist *.egg-info tracer/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis

# What the demo needs, and no more: it is the first thing that a visitor runs. Python files are
# compiled when they are first imported; most of them never are. spikingjelly goes in without its
# dependencies: it asks for torchvision, tensorboard and more, which nothing here uses.
$(VENV)/.demo: constraints.txt pyproject.toml $(BUILT_FROM)
	$(call new_venv,$(VENV))
	@echo "installing PyTorch, SpikingJelly, scikit-learn and opjoule into $(VENV)" >&2
	$(PY) -m pip install -q --no-compile -c constraints.txt setuptools $(OFFLINE) $(DEMO)
	$(PY) -m pip install -q --no-compile -c constraints.txt --no-deps --no-build-isolation \
	    spikingjelly==2.0.0 -e .
	@touch $@

$(VENV)/.installed: $(VENV)/.demo
	$(PY) -m pip install -q -c constraints.txt $(PICTURES) $(CHECKS) $(NETWORKS)
	$(PY) -m pip install -q -c constraints.txt --no-deps $(PEERS) || \
	    echo "some libraries could not be installed: tests that compare with them are skipped" >&2
	$(PY) -m pip install -q -c constraints.txt --no-deps $(KERNELS) || \
	    echo "Triton could not be installed: the tests of its kernels are skipped" >&2
	@$(PY) -c 'from opjoule.tracer.measurers import choose_measurer as choose; \
	    print("opjoule: statistics are counted by", choose().counts_in)'
	@touch $@

$(BARE)/.installed: constraints.txt pyproject.toml $(BUILT_FROM)
	$(call new_venv,$(BARE))
	$(BARE)/bin/python -m pip install -q -c constraints.txt setuptools $(OFFLINE) pytest
	$(BARE)/bin/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

$(PAGES)/.installed: constraints.txt
	$(call new_venv,$(PAGES))
	$(PAGES)/bin/python -m pip install -q -c constraints.txt $(SITE)
	@touch $@

# Another PyTorch brings its own Triton; that of PyTorch 2.9 interprets kernels with NumPy before 2.4.
$(OTHER)/.installed: constraints.txt pyproject.toml $(BUILT_FROM)
	$(call new_venv,$(OTHER))
	grep -vE '^(torch|triton|numpy)==' constraints.txt > $(OTHER)/constraints.txt
	echo 'numpy<2.4' >> $(OTHER)/constraints.txt
	$(OTHER)/bin/python -m pip install -q -c $(OTHER)/constraints.txt setuptools $(OFFLINE) \
	    pytest pytest-xdist hypothesis scipy loguru tqdm torch==$(TORCH)
	$(OTHER)/bin/python -m pip install -q -c $(OTHER)/constraints.txt --no-deps spikingjelly==2.0.0
	$(OTHER)/bin/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

define new_venv
@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit( \
    f"opjoule needs Python 3.11 or newer; $(PYTHON) is {v[0]}.{v[1]}. Try: make PYTHON=python3.11")'
$(PYTHON) -m venv $1
endef
