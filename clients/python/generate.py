"""Makes the package's messages of chat.proto again: needs `pip install 'grpcio-tools==1.72.*'`.

Without an argument it writes them; with --check it compares, and says by its exit status whether they are current.
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent / "src" / "wire" / "proto" / "chat.proto"
PACKAGE = HERE / "src" / "ovid_chat"
MADE = ("chat_pb2.py", "chat_pb2.pyi")


def make() -> dict[str, str]:
    """The text of each file that is made."""
    with tempfile.TemporaryDirectory() as folder:
        # The name that the messages are registered under in a process must not meet that of somebody else's chat.proto.
        package = pathlib.Path(folder) / "ovid_chat"
        package.mkdir()
        shutil.copyfile(SOURCE, package / "chat.proto")
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}"]
        outputs = [f"--python_out={folder}", f"--pyi_out={folder}"]
        subprocess.run([*protoc, *outputs, "ovid_chat/chat.proto"], check=True)
        return {name: (package / name).read_text(encoding="utf-8") for name in MADE}


def main() -> int:
    made = make()
    if sys.argv[1:] == ["--check"]:
        stale = [name for name in MADE if (PACKAGE / name).read_text(encoding="utf-8") != made[name]]
        for name in stale:
            print(f"{name} is not what chat.proto makes: run clients/python/generate.py and commit it")
        return 1 if stale else 0
    for name in MADE:
        (PACKAGE / name).write_text(made[name], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
