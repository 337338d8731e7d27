# foveate: what people and CI run. Needs make, a POSIX shell and Python 3.11 or newer, no more:
# every goal makes .venv beside this file and installs what it needs, once.

TRAIN_EXTRAS :=
TEST_EXTRAS := dev,dicom,dali
BIN := .venv/bin
WORKERS := -n auto --dist loadfile
.DEFAULT_GOAL := help
.PHONY: help quickstart test test-slow soak lint clean
.NOTPARALLEL:

help:
	@echo "make quickstart   make a small synthetic OCT set, train on it, show the report"
	@echo "make test         lint, types, and every test that is not slow"
	@echo "make test-slow    the slow tests"
	@echo "make soak         the longest: every twin learned, the whole GPU check rehearsed"
	@echo "make lint         ruff and mypy"
	@echo "make clean        remove what building and testing left (.venv and runs/ stay)"
	@echo
	@echo "ARGS='...'        more arguments for the command that the goal runs (tests: -n 0 for one process)"
	@echo "PYTHON=PATH       the Python to make .venv with (3.11 or newer)"
	@echo "TORCH_INDEX=URL   where to get torch and torchvision, such as"
	@echo "                  the CPU-only index of pytorch.org (1 GB instead of 6)"

quickstart:
	@sh -eu -c "$$SETUP" setup "$(TRAIN_EXTRAS)"
	$(BIN)/foveate train oct2017:quickstart $(ARGS)

test: lint
	$(BIN)/python -m pytest $(WORKERS) -m "not slow and not soak" $(ARGS)

test-slow:
	@sh -eu -c "$$SETUP" setup "$(TEST_EXTRAS)"
	$(BIN)/python -m pytest $(WORKERS) -m slow $(ARGS)

soak:
	@sh -eu -c "$$SETUP" setup "$(TEST_EXTRAS)"
	$(BIN)/python -m pytest -m soak $(ARGS)

lint:
	@sh -eu -c "$$SETUP" setup "$(TEST_EXTRAS)"
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy -p foveate

clean:
	rm -rf build dist foveate.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage htmlcov
	find engine kernels dataloaders recipes tests benchmarks foveate -name __pycache__ -prune \
	  -exec rm -rf {} +

# The set-up, run as `sh -c "$SETUP" setup EXTRAS`. It keeps three notes in .venv:
#   foveate-home        the checkout that made it (a copied or moved .venv still points at the old one)
#   foveate-installing  there while pip works, with its process: left behind, the install was cut
#                       off, and .venv is made again unless every package in it is whole
#   foveate-ready-*     one for each hash of pyproject.toml, setup.py, checkout and extras installed
# A .venv without foveate-home is somebody's own: it is used, and never removed.
define SETUP
say() { echo "foveate: $$*"; }
fail() { echo "foveate: $$*" >&2; exit 1; }
here=$$(pwd -P)
extras=$$1

torch=$${TORCH_INDEX:-}
dali=dali
case $$torch in
  */cu12*) dali=dali-cuda12; extras=$$(echo "$$extras" | sed s/dali/dali-cuda12/) ;;
esac
if [ -e /proc/driver/nvidia/version ] || nvidia-smi -L >/dev/null 2>&1; then
  case $$torch in
    */cpu*) ;;
    *) extras=$${extras:+$$extras,}gpu,$$dali ;;
  esac
fi
key=$$({ echo "$$here|$$extras|$$torch"; cat pyproject.toml setup.py; } | cksum | tr -d ' ')
ready=.venv/foveate-ready-$$key
[ -f "$$ready" ] && [ ! -f .venv/foveate-installing ] && [ -x .venv/bin/python ] \
  && [ "$$(cat .venv/foveate-home 2>/dev/null || echo "$$here")" = "$$here" ] && exit 0

is_new_enough() { "$$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
has_venv() { "$$1" -c 'import venv, ensurepip' >/dev/null 2>&1; }
pick_python() {
  without=
  for python in $${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3}; do
    is_new_enough "$$python" || continue
    has_venv "$$python" && return
    without=$${without:-$$python}
  done
  [ -z "$$without" ] || fail "$$without has no venv module: install it (Debian, Ubuntu: apt install" \
    "$$(basename "$$without")-venv) or name another Python with PYTHON=PATH"
  [ -z "$${PYTHON:-}" ] || fail "PYTHON=$$PYTHON is not a Python 3.11 or newer that runs"
  fail "no Python 3.11 or newer found: install one, or name it with PYTHON=PATH"
}

if [ -f .venv/foveate-installing ]; then
  other=$$(cat .venv/foveate-installing)
  ! kill -0 "$$other" 2>/dev/null || fail "process $$other is installing into .venv: wait for it" \
    "(if it is something else, remove .venv/foveate-installing)"
fi
is_whole() { # every file that a package says it installed is there, in its length
  .venv/bin/python -I -c 'import csv, sys; from importlib.metadata import distributions
for package in distributions():
    rows = list(csv.reader((package.read_text("RECORD") or "").splitlines()))
    sized = [(package.locate_file(row[0]), int(row[2])) for row in rows if row[2]]
    if not rows or any(not f.is_file() or f.stat().st_size != size for f, size in sized):
        sys.exit(1)'
}
again=
if [ -f .venv/foveate-home ]; then
  if [ "$$(cat .venv/foveate-home)" != "$$here" ]; then again="was made for another folder"
  elif ! .venv/bin/python -m pip --version >/dev/null 2>&1; then again="has no pip that runs"
  elif [ -f .venv/foveate-installing ] && ! is_whole; then again="was left half installed"
  fi
  [ -z "$$again" ] || { say ".venv $$again: making it again"; rm -rf .venv; }
elif [ -d .venv ]; then
  is_new_enough .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1 \
    || fail ".venv has no Python 3.11 or newer with pip: remove it and run this again"
fi
if [ ! -d .venv ]; then
  pick_python
  say "making .venv with $$("$$python" --version) ($$python)"
  mkdir .venv
  echo "$$here" >.venv/foveate-home
  "$$python" -m venv .venv || fail "could not make .venv"
fi

pip() {
  .venv/bin/python -m pip --disable-pip-version-check install -qq "$$@" \
    || fail "pip failed (its message is above); run the same command again once that is mended"
}
echo $$$$ >.venv/foveate-installing
what="foveate$${extras:+ with $$extras}"
if ls .venv/foveate-ready-* >/dev/null 2>&1; then say "bringing .venv up to date: $$what"
else
  say "installing $$what into .venv; this once it takes minutes" \
    "(about 3 GB to fetch, 6 GB on disk$${torch:+, less from a CPU-only TORCH_INDEX})"
fi
[ -z "$$torch" ] || pip --index-url "$$torch" "torch>=2.9" torchvision
pip --editable ".$${extras:+[$$extras]}"
rm -f .venv/foveate-installing
touch "$$ready"
say "installed"
endef
export SETUP
export TORCH_INDEX
export PYTHON
