# What one does here, a line each: `make` lists it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup train app test processes browser nbdev slow fuzz docs lab lock clean

bin := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1
# two workers on two cores: each keeps to one thread
one_thread := OMP_NUM_THREADS=1
PORT := 8866
# tests/ before the notebooks, in that order: its files take longest, and begun last one would run alone
pytest := $(one_thread) $(bin)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
# what papermill says about itself, cell by cell
papermill_noise := Kernel is running over TCP|^(Executing|Ending) Cell |^Black is not installed|^<Figure |^ *$$

help:
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

setup: .venv/.stamp ## make or update .venv from requirements.lock; with extras: make setup EXTRAS=hf,text
	@[ -z "$(EXTRAS)" ] || .ci/extras "$(EXTRAS)"

.venv/.stamp: requirements.lock pyproject.toml
	@.ci/setup

train: setup ## train on the embedded world, report in reports/train.ipynb (more: make train ARGS="-p epochs 5")
	@mkdir -p reports
	$(bin)/papermill nbs/train.ipynb reports/train.ipynb -p scales 3 $(ARGS) --log-output 2>&1 | grep --line-buffered -Ev '$(papermill_noise)'
	@echo report: reports/train.ipynb

app: setup ## a page that finds moments in videos, for this machine alone (make app PORT=8866 ARGS="-p videos DIR")
	@.ci/app $(PORT) $(ARGS)

test: setup ## modules and notebooks agree and are clean, pytest: tests/ and every notebook's cells
	@.ci/unchanged ms2d $(bin)/nbdev_export
	@.ci/unchanged nbs $(bin)/nbdev_clean
	$(pytest)

processes: setup ## the tests that start, join or kill processes of their own
	$(pytest) -m processes tests

browser: setup ## the tests of `make app`, in a real Chromium (installed by .ci/browser)
	$(one_thread) $(bin)/python -m pytest --slow tests/test_app.py

nbdev: setup ## nbdev_test: the cells that `make test` runs, as nbdev itself runs them
	$(one_thread) $(bin)/nbdev_test --n_workers 2 --timing

slow: nbdev ## nbdev_test, and the tests with the cells and tests flagged slow
	$(pytest) --slow --timeout 3600

fuzz: setup ## odd, damaged and hostile inputs for every reader, for an hour (make fuzz ARGS="--minutes 2")
	$(one_thread) PYTHONPATH=tests $(bin)/python -m fuzz $(ARGS)

docs: setup ## the notebooks as a site, in _docs/index.html
	$(bin)/python docs/prepare.py
	$(bin)/sphinx-build -q -W --keep-going -c docs -d _proc/doctrees _proc/source _proc/site
	$(bin)/python docs/check_site.py _proc/site
	@rm -rf _docs && mv _proc/site _docs && echo _docs/index.html

lab: setup ## JupyterLab on the notebooks; saving cleans them as nbdev_clean does
	$(bin)/jupyter lab --LabApp.default_url=/lab/tree/nbs --FileContentsManager.pre_save_hook=nbdev.clean.clean_jupyter $(ARGS)

lock: setup ## requirements.lock anew from requirements.in
	@.ci/lock

clean: ## remove what was built; .venv, data/ and reports/ stay
	rm -rf _proc _docs build dist *.egg-info .pytest_cache
	find ms2d nbs tests -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
