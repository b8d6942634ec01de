# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
LIVEC ?= data/LIVEC

.PHONY: help demo test install browser weights weights-rankiqa weights-hyperiqa clean

help:
	@echo 'make demo     set up, then score, synthesise, meta-train, adapt (about 5 minutes)'
	@echo 'make test     set up, then run the tests and the linter'
	@echo 'make install  set up only: a virtual environment in $(VENV)/'
	@echo 'make weights  rebuild the weights that ship (needs LIVE Challenge; an hour)'
	@echo 'make weights-rankiqa, make weights-hyperiqa   the same for the other methods'
	@echo 'make clean    remove the environment and what the demo made'
	@echo
	@echo 'PYTHON=python3.12 make test   with another Python (3.11 or newer)'

install: $(READY)

$(READY): setup.py requirements-dev.txt requirements-learn2learn.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " \
	  + sys.version.split()[0] + "; use PYTHON=...") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	PIP_USE_PEP517=1 $(BIN)/python -m pip install --quiet --no-deps -r requirements-learn2learn.txt
	$(BIN)/python -m pip install --quiet --editable \
	  '.[train,benchmark,cluster,explain,export,fast,tables,ui]'
	touch $(READY)

# Pages are tested in Chromium; CHROMIUM=PATH names one that is elsewhere.
browser:
	@command -v "$${CHROMIUM:-chromium}" > /dev/null || { \
	  echo 'installing Chromium, which the tests of pages need'; \
	  $$(command -v sudo) apt-get update -qq && \
	  $$(command -v sudo) apt-get install -y -qq chromium > /dev/null; } || { \
	  echo 'Chromium could not be installed; install it, or set CHROMIUM=PATH' >&2; \
	  exit 1; }

demo: $(READY)
	$(BIN)/python -m metaiqa_plugin.demo

test: $(READY) browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n auto

weights: $(READY)
	$(BIN)/python benchmarks/ship_livec.py --livec $(LIVEC) --imagenet

# These two want LIVE Challenge in datasets/livec, as the option files do.
RUN := $(BIN)/python -m metaiqa_plugin.cli
datasets/livec/meta_info_livec.csv: $(READY)
	$(RUN) prepare livec datasets/livec

weights-rankiqa: $(READY) datasets/livec/meta_info_livec.csv
	$(RUN) synthesize metaiqa_plugin/photos/kodak24 data/kodak --resume
	$(RUN) train -opt options/train/RankIQA/rank_kodak.yml --resume
	$(RUN) train -opt options/train/RankIQA/finetune_livec.yml --resume
	$(BIN)/python benchmarks/ship_checkpoint.py \
	  experiments/RankIQA_finetune_livec/models/net_latest.pth rankiqa-livec

weights-hyperiqa: $(READY) datasets/livec/meta_info_livec.csv
	$(RUN) train -opt options/train/HyperIQA/hyperiqa_livec.yml --resume
	$(BIN)/python benchmarks/ship_checkpoint.py \
	  experiments/HyperIQA_livec/models/net_latest.pth hyperiqa-livec

clean:
	rm -rf $(VENV) demo-results *.egg-info build
