#!/usr/bin/env bash
# Installs the test extra into .venv and runs every check; arguments go to pytest.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh" test
ruff format --check .
ruff check .
basedpyright --warnings
pytest -n auto "$@"
