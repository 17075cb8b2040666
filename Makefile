# make train: install everything, then tune the small model on real chairs (about ten minutes on two cores)
# make test:  install everything, then run all tests
# make fuzz:  damaged files of every kind, N=1000 of each; a few are in `make test`
# make test-gpu: the tests that need a GPU, and the conformance kit there
# make faults: kills, power cuts, full disks, flipped bits and endings by the hundred (an hour); `make test` has a few
# make reliability: docs/reliability.md's table from what `make faults` and `make fuzz` wrote
# make check: formatting, lint and types
# make docs:  the HTML documentation, docs/_build/html/index.html
# make pictures: what of the pictures in the README and the documentation is not up to date (docs/pictures)
# make release-dry-run: build and check all distributions (RELEASING.md)
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
# Where it is set, as in many containers, each of the hundreds of processes that tests start compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install train test fuzz faults reliability test-gpu check docs pictures release release-dry-run
install: $(VENV)/installed

# torch first and pinned: the packages after it would otherwise pull another build.
$(VENV)/installed: requirements-dev.txt constraints.txt pyproject.toml $(wildcard tunemv3d_*/pyproject.toml plugins/*/pyproject.toml)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt torch hatchling editables
	$(BIN)/pip install -q -c constraints.txt --no-build-isolation -r requirements-dev.txt
	touch $@

train: install
	$(BIN)/tunemv3d-train chairs-mini

# Two processes of one thread each: with two threads each they would only wait for one another. They take files in
# conftest.py's order, which begins with slow ones; xdist's own begins with those of many tests.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# Damaged files of every kind, N of each: make fuzz N=20000 (KINDS="specs pictures" for some, MINUTES for a limit of each).
N ?= 1000
MINUTES ?= 600
fuzz: install
	OMP_NUM_THREADS=1 PYTHONPATH=tests/fuzz:tunemv3d_core/tests $(BIN)/python tests/fuzz/fuzz_campaign.py $(KINDS) --count $(N) \
		--minutes $(MINUTES) --out benchmarks/results/reliability-fuzz.json

test-gpu: install
	$(BIN)/python -m pytest -m gpu
	TUNEMV3D_TEST_DEVICE=cuda $(BIN)/python -m pytest $(wildcard tunemv3d_*/tests/*_conformance.py plugins/*/tests/*_conformance.py)

faults: install
	OMP_NUM_THREADS=1 TUNEMV3D_FAULTS=full $(BIN)/python -m pytest -m faults -n $(WORKERS) --dist loadfile --timeout 0 tests/faults

reliability: install
	$(BIN)/python benchmarks/reliability.py

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	MYPYPATH=$(subst $(eval ) ,:,$(wildcard tunemv3d_*/src plugins/*/src)) $(BIN)/mypy $(patsubst %,-p %,$(notdir $(wildcard tunemv3d_*/src/* plugins/*/src/*)))

docs: install
	$(BIN)/python -m sphinx -E -W --keep-going -q -d docs/_build/doctrees docs docs/_build/html

pictures: install
	$(BIN)/python docs/pictures

release-dry-run: install
	$(BIN)/tunemv3d plugins release . tunemv3d_* plugins/* --no-kit --dry-run

release: install
	$(BIN)/tunemv3d plugins release . tunemv3d_* plugins/* --no-kit
