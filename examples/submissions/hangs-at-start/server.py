"""Wrong on purpose: it waits for something before it listens."""

import sys
import threading

print("waiting for the others before listening", file=sys.stderr, flush=True)
threading.Event().wait()
