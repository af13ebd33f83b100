"""Find a Chromium for the browser tests, or install one; print its path.

The one on the machine, else Debian's package where that can be installed, else Playwright's own download.
"""

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NONE_FOUND = (
    "No Chromium for the browser tests: none of "
    + ", ".join(NAMES)
    + " is on the PATH, Debian's package could not be installed, and Playwright's download failed. "
    "Install Chromium or Chrome, or set DLWIDGETS_CHROMIUM to its path."
)


def find() -> str | None:
    """The path of a usable Chromium, or None."""
    named = os.environ.get("DLWIDGETS_CHROMIUM")
    if named:
        return named
    for name in NAMES:
        path = shutil.which(name)
        if path:
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if os.path.exists(path) else None


def install() -> None:
    """Try Debian's package, then Playwright's download; say nothing of failures, `find` tells."""
    if hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        packages = ["chromium", "fonts-dejavu-core"]
        for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            subprocess.run(["apt-get", "-qq", *command], env=environment, check=False, stdout=subprocess.DEVNULL)
        if find():
            return
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)


def main() -> int:
    """Make sure that there is a Chromium."""
    path = find()
    if path is None:
        print("No Chromium on the machine: trying to install one")
        install()
        path = find()
    print(path or NONE_FOUND)
    return 0 if path else 1


if __name__ == "__main__":
    sys.exit(main())
