# Sourced: makes .venv with this project and the extras named in $1, once for each
# state of pyproject.toml, and puts it on PATH.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras=${1:-}
stamp=.venv/installed-${extras:-none}
if ! { [ -f "$stamp" ] && [ "$stamp" -nt pyproject.toml ]; }; then
    [ -x .venv/bin/python ] || python3 -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --editable ".${extras:+[$extras]}"
    touch "$stamp"
fi
export PATH="$PWD/.venv/bin:$PATH"
