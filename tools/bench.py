"""Run every benchmark and print its ratios: medians with spread, what is compared interleaved in one process.

Each file of tests/benchmarks is a script of its own. The peers live in environments of their own (`.venv-*`), named to
the scripts by environment variables; a script whose peer is missing says so in its output.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PEERS = {
    "PEERS_TORCHLENS_PYTHON": ".venv-torchlens",
    "PEERS_WANDB_PYTHON": ".venv-wandb",
    "PEERS_SCATTER_PYTHON": ".venv-scatter",
}


def main() -> int:
    """Run the benchmarks named on the command line, or all; the status is 0 only if all ran."""
    import torch

    wanted = sys.argv[1:]
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {os.cpu_count()} cores")
    shared = [str(PROJECT / "tests" / "browser"), str(PROJECT / "tools")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(shared), "WANDB_SILENT": "true"}
    for variable, folder in PEERS.items():
        python = PROJECT / folder / "bin" / "python"
        if python.exists():
            environment[variable] = str(python)
    failed = []
    for script in sorted((PROJECT / "tests" / "benchmarks").glob("*.py")):
        if wanted and script.stem not in wanted:
            continue
        print(f"\n=== {script.stem}", flush=True)
        if subprocess.run([sys.executable, script], env=environment, cwd=PROJECT, check=False).returncode:
            failed.append(script.stem)
    print(f"\nFailed: {', '.join(failed)}" if failed else "\nAll benchmarks ran")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
