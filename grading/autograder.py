"""Writes the zip that Gradescope calls an autograder: the grader, the master and the tests, ready to run there."""

from __future__ import annotations

import os
import shlex
import zipfile

from cases import UsageError
from submission import CHECKOUT

# A zip cannot tell earlier times; the same files give the same bytes.
MOMENT = (1980, 1, 1, 0, 0, 0)

SETUP = """#!/usr/bin/env bash
# Runs once, when the image of the autograder is made. The grader needs Python 3.9 or later and nothing else; add here
# what the submissions need: compilers, runtimes.
set -euo pipefail
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))'; then
    apt-get update
    apt-get install -y --no-install-recommends python3
fi
"""

RUN = """#!/usr/bin/env bash
# Grades one submission. AUTOGRADER_ROOT is for trying this out elsewhere.
set -uo pipefail
root="${{AUTOGRADER_ROOT:-/autograder}}"
results="$root/results/results.json"
mkdir -p "$root/results"
# Where there are no namespaces, the submission runs as a user of its own, and these rights keep it out.
chmod -R go-rwx "$root/source/tests" "$root/results"
python3 "$root/source/grading/grading.py" --submission "$root/submission" --tests "$root/source/tests" \\
    --report "gradescope=$results" {options}
status=$?
if [ ! -s "$results" ]; then
    # Status 2: the call itself was wrong, which is not the student's fault, but must not look like a lost submission.
    printf '{{"score": 0, "output": "The autograder could not run (status %d). Tell your teacher."}}\\n' \\
        "$status" >"$results"
fi
exit 0
"""


def write(path: str, tests: str, options: list[str]) -> None:
    """Write the zip; `options` are given to every call of the grader there."""
    quoted = " ".join(shlex.quote(word) for word in options)
    entries = {
        "setup.sh": (SETUP.encode(), 0o755),
        "run_autograder": (RUN.format(options=quoted).encode(), 0o755),
    }
    for folder in ("grading", "master"):
        for name in sorted(os.listdir(os.path.join(CHECKOUT, folder))):
            if name.endswith(".py"):
                entries[f"{folder}/{name}"] = (_read(os.path.join(CHECKOUT, folder, name)), 0o644)
    for parent, folders, files in os.walk(tests):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if name.endswith((".input", ".output")) or (
                parent == tests and name in ("points.toml", "points.json")
            ):
                file = os.path.join(parent, name)
                entries[f"tests/{os.path.relpath(file, tests)}"] = (_read(file), 0o644)
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(entries):
                data, mode = entries[name]
                info = zipfile.ZipInfo(name, MOMENT)
                info.external_attr = (0o100000 | mode) << 16
                info.create_system = 3
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, data)
    except OSError as error:
        raise UsageError(f"--autograder-zip {path}: {error.strerror}") from error


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
