"""Run every check in order, go on after a failure, and say at the end what failed and what could not run.

`--fast` leaves out what needs a browser or executes notebooks. In CI (`CI=true`) a check that could not run is a
failure.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field

import chromium

PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=5"]


@dataclass(frozen=True)
class Check:
    """One thing that must hold: its name, the command that shows it, and what it needs."""

    name: str
    command: list[str]
    slow: bool = False
    needs_browser: bool = False
    environment: dict[str, str] = field(default_factory=dict)


def checks() -> list[Check]:
    """All checks, the quick ones first."""
    python = sys.executable
    one_thread = {"OMP_NUM_THREADS": "1"}
    return [
        Check("ruff", [python, "-m", "ruff", "check", "."]),
        Check("ruff format", [python, "-m", "ruff", "format", "--check", "."]),
        Check("mypy", [python, "-m", "mypy"]),
        Check("TypeScript", ["jlpm", "typecheck"]),
        Check("JavaScript unit tests", ["jlpm", "test"]),
        Check("Python tests", [*PYTEST, "-n", "2", "tests", "--ignore=tests/browser"], environment=one_thread),
        Check(
            "notebooks",
            [*PYTEST, "-n", "2", "--nbmake", "--nbmake-timeout=600", "notebooks"],
            slow=True,
            environment=one_thread,
        ),
        Check("browser tests", [*PYTEST, "tests/browser"], slow=True, needs_browser=True, environment=one_thread),
    ]


def main() -> int:
    """Run the checks; the exit status is 0 only if nothing failed (and, in CI, everything ran)."""
    fast = "--fast" in sys.argv[1:]
    in_ci = os.environ.get("CI", "").lower() in {"1", "true"}
    outcomes: list[tuple[str, str]] = []
    for check in checks():
        if fast and check.slow:
            outcomes.append(("left out by --fast", check.name))
            continue
        if check.needs_browser and chromium.find() is None:
            print(chromium.NONE_FOUND)
            outcomes.append(("could not run", check.name))
            continue
        print(f"\n=== {check.name}", flush=True)
        start = time.monotonic()
        status = subprocess.run(check.command, env=os.environ | check.environment, check=False).returncode
        outcomes.append(("passed" if status == 0 else "FAILED", f"{check.name} ({time.monotonic() - start:.0f} s)"))
    print("\n=== Summary")
    for outcome, name in outcomes:
        print(f"{outcome:>18}  {name}")
    num_failed = sum(outcome == "FAILED" or (in_ci and outcome == "could not run") for outcome, _ in outcomes)
    print(f"checks: {sum(outcome == 'passed' for outcome, _ in outcomes)} passed, {num_failed} failed")
    return 1 if num_failed else 0


if __name__ == "__main__":
    sys.exit(main())
