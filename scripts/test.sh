#!/usr/bin/env bash
# Installs the test extra into .venv and runs every check; arguments go to pytest.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/venv.sh" test
if ! command -v chromedriver >/dev/null && [ "$(id -u)" = 0 ] &&
    command -v apt-get >/dev/null; then
    { apt-get update -q && apt-get install -qy chromium chromium-driver; } >/dev/null ||
        echo "no chromium: tests of pages are skipped"
fi
ruff format --check .
ruff check .
basedpyright --warnings
pytest -n auto "$@"
