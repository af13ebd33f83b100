"""Write constraints.txt: the exact versions of everything in the present environment.

Run by `make pin` after a deliberate upgrade. A package that no longer supports the oldest Python that we do is pinned
only where it can be installed; there pip picks the newest version that works.
"""

from importlib.metadata import distributions

from packaging.specifiers import SpecifierSet
from packaging.version import Version

OLDEST_PYTHON = "3.10"
NOT_OURS_TO_PIN = {"dlwidgets", "pip", "setuptools", "wheel"}


def pins() -> list[str]:
    """One line a distribution, sorted by name."""
    lines = {}
    for distribution in distributions():
        name = distribution.metadata["Name"]
        if name.lower() in NOT_OURS_TO_PIN:
            continue
        supported = SpecifierSet(distribution.metadata["Requires-Python"] or "")
        marker = "" if Version(OLDEST_PYTHON) in supported else f' ; python_version > "{OLDEST_PYTHON}"'
        lines[name.lower()] = f"{name}=={Version(distribution.version).public}{marker}"
    return [lines[name] for name in sorted(lines)]


if __name__ == "__main__":
    print("# Exact versions for development and CI; written by `make pin`. Users get the ranges in pyproject.toml.")
    print("\n".join(pins()))
