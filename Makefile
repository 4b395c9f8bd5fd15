PYTHON ?= python3
BIN := .venv/bin
DATA := data/teacher
STUDY := studies/teacher

.PHONY: venv test lint study baselines clean

venv: .venv/.installed

.venv/.installed: requirements.lock setup.cfg
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

test: venv lint
	$(BIN)/python -m pytest tests

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# launch/studies/teacher.toml on the synthetic teacher. A study that was cut goes on where it stopped.
study: venv
	$(BIN)/python -m launch.prepare --source=synthetic --rows=150000 --out=$(DATA)
	$(BIN)/python -m launch.sweep --study=teacher --data=$(DATA) --out=$(STUDY)
	$(BIN)/python -m launch.report --study=$(STUDY)

# Every baseline at its published settings, on the data sets that docs/results.md prepares. Goes on where it was cut.
baselines: venv
	$(BIN)/python -m launch.sweep --study=published_frappe --data=data/frappe --out=studies/published_frappe
	$(BIN)/python -m launch.report --study=studies/published_frappe
	$(BIN)/python -m launch.sweep --study=published_ml1m --data=data/ml1m7 --out=studies/published_ml1m
	$(BIN)/python -m launch.report --study=studies/published_ml1m

clean:
	rm -rf .venv $(DATA) $(STUDY)
