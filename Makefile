# Everything starts here: `make demo` and `make test` each set up all they need.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV_PYTHON = .venv/bin/python
COMPILE = .venv/bin/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate -p 3.11
# two processes, because tests wait for containers; the longest shares come first (`make test SPREAD=` for one process)
SPREAD = --numprocesses 2 --no-loadscope-reorder
ENGINE = DOCKER_HOST="$$($(PYTHON) infra/engine.py ensure)"

# what the environment compiles is used at every start
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test lint check-readme bench stop clean environment privacy lock

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

environment: ## make .venv from the lock
	@$(PYTHON) infra/environment.py >/dev/null

privacy: ## the same, with the privacy extra (Opacus, PyTorch)
	@$(PYTHON) infra/environment.py --privacy >/dev/null

demo: environment ## build seven example tools, onboard them for real, show the verdicts
	@$(ENGINE) && export DOCKER_HOST && $(VENV_PYTHON) -m examples.demo

test: privacy ## lint, types, import rules and every test that this machine can run
	@$(PYTHON) infra/test_tools.py
	@$(MAKE) --no-print-directory lint
	@$(ENGINE) && export DOCKER_HOST && $(VENV_PYTHON) -m pytest $(SPREAD)

lint: environment ## ruff, mypy --strict, import rules
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m ruff format --check .
	@$(VENV_PYTHON) -m mypy
	@.venv/bin/lint-imports

check-readme: environment ## hold the README's commands against the program
	@$(VENV_PYTHON) -m pytest -q tests/unit/console/test_readme.py

bench: environment ## benchmarks, as tables
	@$(ENGINE) && export DOCKER_HOST && for script in tests/benchmarks/bench_*.py; do $(VENV_PYTHON) $$script || exit 1; done

stop: ## end the engine and servers that these commands started, by pid
	@test ! -x $(VENV_PYTHON) || for home in build/demo-*/home; do test ! -d "$$home" || .venv/bin/pratique down --home "$$home"; done
	@$(PYTHON) infra/engine.py stop

clean: ## remove what was built here (not the engine's data)
	@rm -rf build dist .venv .venv.lock .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

lock: ## resolve the locks again (needs the package index)
	@$(COMPILE) -c requirements/constraints.txt pyproject.toml -o requirements/core.lock
	@$(COMPILE) requirements/dev.in -o requirements/dev.lock
	@$(COMPILE) requirements/uv.in -o requirements/uv.lock
	@$(COMPILE) --override requirements/privacy-overrides.txt requirements/privacy.in -o requirements/privacy.lock
	@$(COMPILE) --no-deps requirements/modelaudit.in -o requirements/modelaudit.lock
