# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: help demo test install browser weights weights-prior weights-livec prior weights-rankiqa \
  weights-hyperiqa release-check clean

help:
	@echo 'make demo     set up, then score, synthesise, meta-train, adapt (about 5 minutes)'
	@echo 'make test     set up, then run the tests and the linter'
	@echo 'make install  set up only: a virtual environment in $(VENV)/'
	@echo 'make weights  rebuild the metric that ships (needs LIVE Challenge; some three hours)'
	@echo 'make weights-prior   the prior that it comes from (clones BIQ2021; some two hours)'
	@echo 'make weights-livec, weights-rankiqa, weights-hyperiqa   the same for the others'
	@echo 'All of them go on where they were stopped.'
	@echo 'make release-check  build, check and install the release in clean Pythons (slow)'
	@echo 'make clean    remove the environment and what the demo made'
	@echo
	@echo 'PYTHON=python3.12 make test   with another Python (3.11 or newer)'

install: $(READY)

$(READY): pyproject.toml setup.py requirements-dev.txt requirements-learn2learn.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " \
	  + sys.version.split()[0] + "; use PYTHON=...") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	PIP_USE_PEP517=1 $(BIN)/python -m pip install --quiet --no-deps -r requirements-learn2learn.txt
	$(BIN)/python -m pip install --quiet --editable \
	  '.[train,benchmark,cluster,explain,export,fast,torchmetrics,ui]'
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
	$(BIN)/python examples/demo.py

test: $(READY) browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n auto

RUN := $(BIN)/python -m metaiqa_plugin.cli
SHIP := $(BIN)/python studies/ship_checkpoint.py
IN_LIVEC := --table data/LIVEC/meta_info_LIVEC.csv --images data/LIVEC/Images
IN_DATASETS := --table datasets/livec/meta_info_livec.csv \
  --images datasets/livec/Images --split 1

# BIQ2021 is cloned; LIVE Challenge lies in data/LIVEC: Images/ and pyiqa's table of it.
weights: prior
	$(RUN) train -opt options/train/MetaIQA/metric_biq2021_livec.yml --resume
	$(RUN) adapt --metric experiments/MetaIQA_metric_biq2021_livec/models/net_latest.pth \
	  --images data/LIVEC/Images --scores data/LIVEC/meta_info_LIVEC.csv \
	  --score-range 0 100 --steps 0 --out experiments/metaiqa.pth --overwrite
	$(SHIP) experiments/metaiqa.pth metaiqa $(IN_LIVEC)

weights-prior: prior
	$(SHIP) experiments/MetaIQA_prior_biq2021/models/net_latest.pth metaiqa-prior $(IN_LIVEC)

prior: $(READY) datasets/biq2021/meta_info_biq2021.csv
	$(RUN) train -opt options/train/MetaIQA/prior_biq2021.yml --resume

datasets/biq2021/meta_info_biq2021.csv: $(READY)
	git clone https://github.com/nisarahmedrana/BIQ2021 datasets/biq2021
	$(RUN) prepare biq2021 datasets/biq2021

# The metric from distorted Kodak photos and LIVE Challenge in data/LIVEC.
weights-livec: $(READY)
	$(RUN) synthesize metaiqa_plugin/photos/kodak24 data/kodak --resume
	$(RUN) train -opt options/train/MetaIQA/prior_kodak.yml --resume
	$(RUN) train -opt options/train/MetaIQA/metric_livec_all.yml --resume
	$(SHIP) experiments/MetaIQA_metric_livec_all/models/net_latest.pth metaiqa-livec $(IN_LIVEC)

# These two want LIVE Challenge in datasets/livec, as the option files do.
datasets/livec/meta_info_livec.csv: $(READY)
	$(RUN) prepare livec datasets/livec

weights-rankiqa: $(READY) datasets/livec/meta_info_livec.csv
	$(RUN) synthesize metaiqa_plugin/photos/kodak24 data/kodak --resume
	$(RUN) train -opt options/train/RankIQA/rank_kodak.yml --resume
	$(RUN) train -opt options/train/RankIQA/finetune_livec.yml --resume
	$(SHIP) experiments/RankIQA_finetune_livec/models/net_latest.pth rankiqa-livec \
	  $(IN_DATASETS)

weights-hyperiqa: $(READY) datasets/livec/meta_info_livec.csv
	$(RUN) train -opt options/train/HyperIQA/hyperiqa_livec.yml --resume
	$(SHIP) experiments/HyperIQA_livec/models/net_latest.pth hyperiqa-livec $(IN_DATASETS)

# Every tracked file is in what is shipped, and the tour runs from the wheel alone.
PYTHONS := python3.11 python3.12 python3.13
TRIED := build/release

release-check: $(READY)
	rm -rf dist build
	$(BIN)/python -m pip install --quiet build twine
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*
	mkdir -p $(TRIED)
	git ls-files metaiqa_plugin options | sed 's,^options,metaiqa_plugin/options,' \
	  | sort > $(TRIED)/package
	git ls-files | grep -v '^\.' | sort > $(TRIED)/sources
	$(BIN)/python -m zipfile -l dist/*.whl | cut -d' ' -f1 | sort > $(TRIED)/in-wheel
	tar -tzf dist/*.tar.gz | cut -d/ -f2- | sort > $(TRIED)/in-sdist
	! comm -23 $(TRIED)/package $(TRIED)/in-wheel | grep .
	! comm -23 $(TRIED)/sources $(TRIED)/in-sdist | grep .
	for python in $(PYTHONS); do \
	  $$python -m venv $(TRIED)/$$python && \
	  $(TRIED)/$$python/bin/python -m pip install --quiet \
	    "$$(echo dist/*.whl)[train,explain]" pytest hypothesis playwright && \
	  $(TRIED)/$$python/bin/metaiqa --version && \
	  $(TRIED)/$$python/bin/python -P -m pytest -q tests/examples/test_tour.py \
	  || exit 1; \
	done

clean:
	rm -rf $(VENV) demo-results *.egg-info build dist
