PYTHON ?= python3
BIN := .venv/bin

.PHONY: venv test study clean

venv: .venv/.installed

.venv/.installed: requirements.lock setup.cfg
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

test: venv
	$(BIN)/python -m pytest tests

clean:
	rm -rf .venv data/teacher studies/teacher
