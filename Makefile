# Everything here works on a fresh Debian or Ubuntu machine with Python 3.10 or newer.
# VENV, PYTHON and JOBS may be set on the command line: `make size JOBS=2`.

VENV ?= .venv
PYTHON ?= python3
JOBS ?= 1
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEVELOPED := $(VENV)/.developed
LEARNING := $(VENV)/.learning

# Extras for the tests beside those of `dev`: EXTRAS=,turbo adds botorch and torch.
EXTRAS ?=

.PHONY: help size test install develop learning simulator check lint types docs bench-agents bench-spaces \
        bench-objectives bench-engine bench-time bench-ngspice bench-proposals bench-technology \
        bench-measures bench-simulators bench-library bench-dataset bench-paper library-targets \
        bench-targets pretrain pretrain-smoke bench-pretrained bench-signoff bench-yields \
        bench-porting bench-slopes bench-coarse bench-learn bench-learn-again bench-m3 bench-training \
        bench-trust-region bench-smallest wheel clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

size: $(INSTALLED) simulator  ## set everything up and size the example op amp on real ngspice
	$(BIN)/m3eda size examples/two_stage_opamp/design.yaml --jobs $(JOBS)

test: $(DEVELOPED) simulator  ## set everything up and run the tests
	$(BIN)/python -m pytest -n auto --dist worksteal $(TESTS)

install: $(INSTALLED)  ## make the virtual environment and install m3eda into it

develop: $(DEVELOPED)  ## the same with the tools for tests and checks

learning: $(LEARNING)  ## the same with what training and its baselines need: torch and its like

simulator:  ## install ngspice and libngspice where they are missing
	@sh .ci/install_ngspice.sh

check: lint types docs  ## ruff, mypy and the checks of the docs

lint: $(DEVELOPED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEVELOPED)
	$(BIN)/mypy

docs: $(DEVELOPED)  ## write the generated parts of docs/ anew and fail where they had changed
	$(BIN)/python docs/generate.py --check

bench-agents: $(DEVELOPED) simulator  ## agents compared on every list of targets (hours; resumes)
	$(BIN)/python -m bench.agents $(ARGS)

bench-spaces: $(DEVELOPED)  ## agents compared on closed-form spaces: 3 to 60 parameters, rough, binned
	$(BIN)/python -m bench.spaces $(ARGS)

bench-objectives: $(DEVELOPED) simulator  ## how fast one objective and a Pareto front improve
	$(BIN)/python -m bench.objectives $(ARGS)

bench-engine: $(DEVELOPED) simulator  ## the simulation engine beside bare ngspice (a quarter of an hour)
	$(BIN)/python -m bench.engine $(ARGS)

bench-simulators: $(DEVELOPED) simulator  ## sizings a second on each simulator, and their agreement
	$(BIN)/python -m bench.simulators $(ARGS)

bench-time: $(DEVELOPED) simulator  ## time of the command line and the share outside ngspice
	$(BIN)/python -m bench.command_line $(ARGS)

bench-ngspice: $(DEVELOPED) simulator  ## the back end beside a bare ngspice process
	$(BIN)/python -m bench.ngspice_overhead $(ARGS)

bench-proposals: $(DEVELOPED)  ## CPU time of a proposal of the agent bo
	$(BIN)/python -m bench.proposal_time $(ARGS)

bench-technology: $(DEVELOPED) simulator  ## the generic technologies beside published cards
	$(BIN)/python -m bench.technology $(ARGS)

bench-measures: $(DEVELOPED)  ## what a coarse frequency grid costs a measure
	$(BIN)/python -m bench.measure_accuracy $(ARGS)

bench-library: $(DEVELOPED) simulator  ## the circuit library: rates, hardness of targets, agents (hours; resumes)
	$(BIN)/python -m bench.library --agents search,cma $(ARGS)
	$(BIN)/python -m bench.library --agents auto --held-out $(ARGS)

bench-dataset: $(DEVELOPED) simulator  ## points a second of `m3eda dataset` beside the engine alone
	$(BIN)/python -m bench.dataset $(ARGS)

bench-paper: $(DEVELOPED) simulator  ## the ranges that the M3 paper gives, beside what can be reached
	$(BIN)/python -m bench.paper_ranges $(ARGS)

pretrain: $(LEARNING) simulator  ## the networks that come with m3eda, from nothing (hours; resumes)
	$(BIN)/python -m bench.pretrain $(ARGS)

pretrain-smoke: $(LEARNING) simulator  ## the same at its smallest size
	$(BIN)/python -m bench.pretrain --smallest

bench-pretrained: $(DEVELOPED) simulator  ## what those networks are worth beside the search (resumes)
	$(BIN)/python -m bench.pretrained $(ARGS)

bench-signoff: $(DEVELOPED) simulator  ## simulations until a sizing holds at every corner (hours; resumes)
	$(BIN)/python -m bench.signoff $(ARGS)

bench-yields: $(DEVELOPED) simulator  ## Monte Carlo: intervals, samples until decided, sizing for a yield (resumes)
	$(BIN)/python -m bench.yields $(ARGS)

bench-porting: $(DEVELOPED) simulator  ## simulations in a new technology, by what is shared with the old one (resumes)
	$(BIN)/python -m bench.porting $(ARGS)

bench-slopes: $(DEVELOPED)  ## how much of a circuit's slopes those of others foretell
	$(BIN)/python -m bench.slopes $(ARGS)

bench-coarse: $(DEVELOPED) simulator  ## what a circuit's equations foretell of its measures, beside ngspice
	$(BIN)/python -m bench.coarse $(ARGS)

bench-learn: $(LEARNING) simulator  ## simulations a target once a circuit has been learnt
	$(BIN)/python -m bench.learn $(ARGS)

bench-learn-again: $(LEARNING) simulator  ## points for the same error from networks of a circuit like it
	$(BIN)/python -m bench.learn_again $(ARGS)

bench-m3: $(LEARNING) simulator  ## the M3 paper's tables, of what was run (a seed takes hours; resumes)
	$(BIN)/python -m bench.m3_tables $(ARGS)

bench-training: $(LEARNING)  ## milliseconds an update of the networks, each way of computing them
	$(BIN)/python -m bench.training $(ARGS)

bench-trust-region: $(LEARNING) simulator  ## the trust-region paper's Table I (hours; resumes)
	$(BIN)/python -m bench.trust_region_table $(ARGS)

library-targets: $(DEVELOPED) simulator  ## calibrate circuits that have no targets yet (hours; resumes)
	$(BIN)/python -m bench.calibrate --all $(ARGS)

bench-targets: $(DEVELOPED) simulator  ## make Pareto targets of a circuit anew
	$(BIN)/python -m bench.make_targets $(ARGS)

bench-smallest: $(LEARNING) simulator  ## every benchmark once at its smallest size
	$(BIN)/python -m bench.agents --smallest --agents random,search
	$(BIN)/python -m bench.command_line --smallest
	$(BIN)/python -m bench.ngspice_overhead --smallest
	$(BIN)/python -m bench.proposal_time --smallest
	$(BIN)/python -m bench.technology --only $(filter-out sky130,$(notdir $(wildcard templates/technologies/*)))
	$(BIN)/python -m bench.make_targets --smallest
	$(BIN)/python -m bench.spaces --smallest
	$(BIN)/python -m bench.measure_accuracy --smallest
	$(BIN)/python -m bench.objectives --smallest
	$(BIN)/python -m bench.engine --smallest
	$(BIN)/python -m bench.simulators --smallest
	$(BIN)/python -m bench.calibrate --smallest
	$(BIN)/python -m bench.library --smallest
	$(BIN)/python -m bench.dataset --smallest
	$(BIN)/python -m bench.paper_ranges --smallest
	$(BIN)/python -m bench.training --smallest
	$(BIN)/python -m bench.m3_tables --smallest
	$(BIN)/python -m bench.learn --smallest
	$(BIN)/python -m bench.learn_again --smallest
	$(BIN)/python -m bench.pretrain --smallest
	$(BIN)/python -m bench.pretrained --smallest
	$(BIN)/python -m bench.slopes --smallest
	$(BIN)/python -m bench.coarse --smallest
	$(BIN)/python -m bench.signoff --smallest
	$(BIN)/python -m bench.yields --smallest
	$(BIN)/python -m bench.porting --smallest
	$(BIN)/python -m bench.trust_region_table --smallest

# a deck whose text changes needs a new recording: tests/fake_xyce.py
record-xyce: $(DEVELOPED)  ## record what a real Xyce answers to the tests: make record-xyce XYCE=/path/to/Xyce
	@test -x "$(XYCE)" || { echo "make record-xyce XYCE=/path/to/Xyce" >&2; exit 2; }
	rm -f tests/recordings/xyce/*.json.gz
	RECORD_XYCE=$(XYCE) $(BIN)/python -m pytest -p no:cacheprovider tests/test_xyce_contract.py \
	  tests/test_xyce_agreement.py tests/test_xyce_flow.py tests/test_xyce_dialect_agreement.py \
	  tests/test_xyce_batch.py

wheel: $(DEVELOPED)  ## build the wheel into dist/
	$(BIN)/python -m build --wheel

clean:  ## remove the virtual environment and what was built
	rm -rf $(VENV) build dist *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "m3eda needs Python 3.10 or newer; this is $$($(PYTHON) --version)" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || sh .ci/make_venv.sh $(PYTHON) $(VENV)

$(INSTALLED): $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

# the pip of Debian 12 seeks for half an hour what a newer one finds in seconds
$(DEVELOPED): $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=24'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev$(EXTRAS)]'
	@touch $@ $(INSTALLED)

# what training needs: torch, Stable-Baselines3
$(LEARNING): $(DEVELOPED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[baselines]'
	@touch $@
