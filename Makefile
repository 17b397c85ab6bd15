# make demo: set everything up, recover the people of a bundled photo.   make test: lint, types, tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MINIMUM := .venv-minimum
PHOTO := src/fullframe/assets/demo/three_people.jpg

# The tests start many processes, which would compile all modules again and again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint docs test-minimum install

demo: install
	$(BIN)/fullframe run $(PHOTO) -o demo_output --save overlay,sheet,npz,json,glb
	@echo "look at demo_output/three_people_sheet.jpg; demo_output/three_people.glb opens in any 3D viewer"

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation as a site in build/site.
docs: install
	$(BIN)/mkdocs build --strict --quiet

# The tests with the oldest version of every dependency that pyproject.toml allows.
test-minimum: install
	$(BIN)/uv venv --quiet --allow-existing --python 3.10 $(MINIMUM)
	$(BIN)/uv pip install --quiet --python $(MINIMUM)/bin/python --resolution lowest-direct --editable '.[dev]'
	OMP_NUM_THREADS=1 $(MINIMUM)/bin/python -m pytest -n auto --dist worksteal -m 'not slow'

install: $(VENV)/installed

# Made again whenever the dependencies change.
$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "fullframe needs Python 3.10 or newer, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	@echo "installing fullframe and its dependencies (a few GB, some minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
