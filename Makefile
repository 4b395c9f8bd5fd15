PYTHON ?= python3
BIN := .venv/bin
DATA := data/teacher
STUDY := studies/teacher

.PHONY: venv test study clean

venv: .venv/.installed

.venv/.installed: requirements.lock setup.cfg
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

test: venv
	$(BIN)/python -m pytest tests

# Four widths, two depths and three seeds of each arm on the synthetic teacher; widths are chosen so that the arms meet
# at equal FLOPs. A study that was cut goes on where it stopped.
study: venv
	$(BIN)/python -m launch.prepare --source=synthetic --rows=150000 --out=$(DATA)
	$(BIN)/python -m launch.sweep --data=$(DATA) --out=$(STUDY) --arms=dense_mlp,ssr_s,ssr_d \
	  --widths=dense_mlp:16,48,128,256,ssr_s:16,32,64,128,ssr_d:4,8,16,32 --depths=1,2 --views=4 \
	  --learning_rates=3e-3,1e-2,3e-2 --seeds=3
	$(BIN)/python -m launch.report --study=$(STUDY)

clean:
	rm -rf .venv $(DATA) $(STUDY)
