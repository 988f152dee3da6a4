"""Wrong on purpose: it kills whatever it may before it starts."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "correct"))
import os
import signal

from server import Server

os.kill(-1, signal.SIGKILL)
Server(*map(int, sys.argv[1:])).run()
