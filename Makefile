PYTHON ?= python3
BIN := .venv/bin
TPU_PYTHON := $(BIN)/python
DATA := data/teacher
STUDY := studies/teacher

# Of `make accelerator`: where results go, its Python, and a prepared MovieLens-1M.
OUT := studies/accelerator
ACCELERATOR_PYTHON := $(BIN)/python
ML1M := data/ml1m
BENCHES := accelerator step filter ics vectorised
STUDY_OF_ACCELERATOR := views

.PHONY: venv test test-tpu lint study baselines clean accelerator accelerator_parts

venv: .venv/.installed

.venv/.installed: requirements.lock setup.cfg
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

test: venv lint
	QUICK=1 $(BIN)/python -m pytest tests -m 'not fusions'
	$(BIN)/python -m pytest tests -m fusions

# What the compiler of TPUs makes of the steps; skipped where libtpu is absent. It wants an environment
# of its own (docs/accelerators.md): make test-tpu TPU_PYTHON=.venv-tpu/bin/python
test-tpu: venv
	JAX_PLATFORMS=cpu $(TPU_PYTHON) -m pytest tests/tpu --dist=load

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
	$(BIN)/python -m launch.sweep --study=published/frappe --data=data/frappe --out=studies/published_frappe
	$(BIN)/python -m launch.report --study=studies/published_frappe
	$(BIN)/python -m launch.sweep --study=published/ml1m --data=data/ml1m7 --out=studies/published_ml1m
	$(BIN)/python -m launch.report --study=studies/published_ml1m

# What a lent GPU or TPU should answer, in calls of at most nine minutes: run it again until it says
# that all is there. The interpreter must have a jax for the device; nothing is installed.
accelerator:
	@timeout --signal=TERM --kill-after=30 540 $(MAKE) accelerator_parts \
	  || { echo "not all is in $(OUT) yet; the same command goes on"; exit 75; }
	@echo "all is in $(OUT)"

accelerator_parts: $(BENCHES:%=$(OUT)/%.json)
	$(ACCELERATOR_PYTHON) -m launch.sweep --study=$(STUDY_OF_ACCELERATOR) --data=$(ML1M) --out=$(OUT)/study
	$(ACCELERATOR_PYTHON) -m launch.report --study=$(OUT)/study

$(OUT)/%.json:
	$(ACCELERATOR_PYTHON) -m launch.bench --what=$* --out=$@.part
	mv $@.part $@

clean:
	rm -rf .venv $(DATA) $(STUDY)
