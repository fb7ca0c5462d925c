# demo     install what is needed into .venv and run the main job end to end
# test     every test that needs no GPU
# coverage which branches of the core the tests reach; fails below all of them
# check    format, lint, types, import contracts; scripts too, where make test has installed what that takes
# bench    the figures of the README, written under benchmarks/
# gpu      tests and figures that need a CUDA device, by GPU_PYTHON (which has torch, onnxruntime, pytest)
# clean    forget .venv and caches

VENV := .venv
BIN := $(VENV)/bin
# An environment is renewed when what it is made from changes.
MADE_FROM := pyproject.toml .ci/environment $(wildcard hatch_build.py rtcodec/*/*.[ch] clients/web/*/*.[chj]*)
ARGS ?=
GPU_PYTHON ?= python3
# Tests wait as much as they compute. In the folders' order: integration, which takes longest, comes first.
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test coverage check bench gpu clean help
.DEFAULT_GOAL := help

help:
	@sed -n '/^# /!q; s/^# //p' Makefile

$(VENV)/.ready-run: $(MADE_FROM)
	@.ci/environment run
	@touch $@

$(VENV)/.ready-dev: $(MADE_FROM)
	@.ci/environment dev
	@touch $@ $(VENV)/.ready-run

demo: $(VENV)/.ready-run
	$(BIN)/rtcodec demo $(ARGS)

test: # both install, one mostly waits for the other's network
	@.ci/interop & $(MAKE) -s $(VENV)/.ready-dev; made=$$?; wait; exit $$made
	@$(BIN)/python -m rtcodec.entropy.build --missing # for browsers, if Clang came after that
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not gpu" $(SIDE_BY_SIDE) $(ARGS)

coverage: $(VENV)/.ready-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not gpu" tests/unit tests/property tests/conformance --cov --cov-report=term $(ARGS)

check: $(VENV)/.ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	@.ci/scripts

bench: $(VENV)/.ready-dev
	$(BIN)/python -m benchmarks $(ARGS)

# No environment of its own: a machine with a GPU brings the torch that fits its driver.
gpu: export PYTHONPATH := .:server:engines:clients:tests
gpu:
	@$(GPU_PYTHON) -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null \
		|| { echo "no CUDA device that torch in $(GPU_PYTHON) can use (make gpu GPU_PYTHON=...)" >&2; exit 1; }
	$(GPU_PYTHON) -m rtcodec.entropy.build
	$(GPU_PYTHON) -m pytest -c /dev/null --rootdir . -p no:cacheprovider --noconftest -ra tests/gpu \
		tests/unit/tensor/test_kernels.py tests/unit/test_batching.py tests/unit/test_cuda_lane.py
	$(GPU_PYTHON) -m benchmarks.gpu $(ARGS)

clean:
	rm -rf $(VENV) build dist .coverage htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
