"""Virtual environments of the client scripts, below `target/`."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def go_on_with(name, packages, options=()):
    """Goes on in the environment `target/<name>`, made unless it is there. False where the packages cannot be installed."""
    folder = ROOT / "target" / name
    python = folder / "bin" / "python"
    if pathlib.Path(sys.executable) == python:
        return True
    if not (folder / "complete").exists():
        install = [str(python), "-m", "pip", "install", "--quiet", *options, *packages]
        for command in ([sys.executable, "-m", "venv", str(folder)], install):
            if subprocess.run(command).returncode != 0:
                return False
        (folder / "complete").touch()
    os.execv(str(python), [str(python), *sys.argv])
