#!/bin/bash
# Everything that is to be measured on a GPU, with one command and within six minutes:
#
#   benchmarks/gpu.sh [--wheels DIR] [--python PYTHON] [flags of gpu.py: --small, --device D, --parts A,B, --seconds S]
#
# It prints a table, and one JSON object as the last line of standard output; what happens meanwhile goes to standard
# error. --small rehearses all of it at small shapes, on a CPU too.
# --wheels DIR makes a virtual environment that sees the machine's own packages, its torch above all, and installs the
# other wheels of DIR into it without an index. Without it, .venv is used if there is one, else python3.
# The code measured is that of this tree, whatever is installed.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=''
wheels=''
flags=()

fail() {
    echo "gpu.sh: $1" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
        --wheels | --python)
            [ $# -ge 2 ] || fail "$1: a path is missing"
            if [ "$1" = --wheels ]; then wheels=$2; else python=$2; fi
            shift
            ;;
        --help | -h)
            sed -n '2,11s/^# \{0,1\}//p' "$0"
            exit 0
            ;;
        *) flags+=("$1") ;;
    esac
    shift
done

if [ -z "$python" ]; then
    python=python3
    if [ -z "$wheels" ] && [ -x "$root/.venv/bin/python" ]; then python=$root/.venv/bin/python; fi
fi
command -v "$python" > /dev/null || fail "--python $python: not found"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The folders core/ and tui/ are packages of the namespace circuit_tui.
mkdir -p "$work/tree/circuit_tui" "$work/state"
ln -s "$root/core" "$root/tui" "$work/tree/circuit_tui/"
export PYTHONPATH="$work/tree${PYTHONPATH:+:$PYTHONPATH}"
export XDG_STATE_HOME="$work/state" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

if [ -n "$wheels" ]; then
    [ -d "$wheels" ] || fail "--wheels $wheels: no such folder"
    chosen=()
    for wheel in "$wheels"/*.whl; do
        case $(basename "$wheel") in
            torch-* | triton-* | nvidia_*) ;; # the machine's own
            *.whl) [ -e "$wheel" ] && chosen+=("$wheel") ;;
        esac
    done
    [ ${#chosen[@]} -gt 0 ] || fail "--wheels $wheels: there are no wheels in it"
    "$python" -m venv --system-site-packages --without-pip "$work/venv"
    # The machine's python may itself be that of a virtual environment, which the new one would not see, with its pip.
    site=$("$work/venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')
    "$python" -c 'import site; print("\n".join(site.getsitepackages()))' > "$site/machine.pth"
    python=$work/venv/bin/python
    timeout 120 "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile \
        --ignore-installed "${chosen[@]}" >&2 || fail "--wheels $wheels: they cannot be installed"
fi

# What the benchmarks start.
mkdir "$work/bin"
cat > "$work/bin/circuit-tui" << END
#!$(command -v "$python")
import sys

from circuit_tui.tui.cli import main

sys.exit(main())
END
chmod +x "$work/bin/circuit-tui"
export CIRCUIT_TUI="$work/bin/circuit-tui"

"$python" "$root/benchmarks/gpu.py" --spent "$SECONDS" ${flags[@]+"${flags[@]}"}
