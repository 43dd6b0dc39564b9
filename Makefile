# make lab    open the course in JupyterLab           make lab ARGS="--no-browser --port 8899"
# make test   run everything that CI runs             make test ARGS="-k packing"
# make env    only prepare .venv (the other two do it on first use)
# Without make: python -m course_lib lab

PYTHON ?= python3
ARGS ?=
JOBS ?= 2
VENV := .venv/bin

.PHONY: help env lab doctor test lint lock pictures train card site exercises peers fuzz

help:
	@sed -n '1,4s/^# //p' Makefile

env:
	@$(PYTHON) -m course_lib env

lab: env
	@$(VENV)/python -m course_lib lab $(ARGS)

doctor:
	@$(PYTHON) -m course_lib doctor

test: env lint
	@$(VENV)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

lint: env
	@$(VENV)/ruff check .

# after a change to the dependencies in pyproject.toml: install them first, then write the pins
lock:
	@$(VENV)/python tools/lock.py

pictures train card site: env
	@$(VENV)/course $@ $(ARGS)

# the problem sets that students get, made from solutions/
exercises: env
	@$(VENV)/course release $(ARGS)

# files from strangers, guided by coverage; atheris lies in a folder of its own, and the course is not asked to have it
FUZZ := .course-fuzz

fuzz: env $(FUZZ)/atheris
	@PYTHONPATH=$(FUZZ) $(VENV)/python tools/fuzz_gguf.py $(ARGS)

$(FUZZ)/atheris:
	@$(VENV)/python -m pip install --quiet --no-deps --target $(FUZZ) atheris==3.0.0

# our GPTQ and our checkpoints beside GPTQModel, llm-compressor and HQQ, in an environment of their own
PEERS := .course-peers

peers: $(PEERS)/ready
	@PYTHONPATH=. $(PEERS)/bin/python benchmarks/peers/run.py $(ARGS)

$(PEERS)/ready: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv --clear $(PEERS)
	$(PEERS)/bin/pip install --upgrade pip setuptools wheel $$(grep -E '^(torch|numpy)==' $<)
	$(PEERS)/bin/pip install --no-build-isolation -r $<
	touch $@
