"""A page in a real browser: headless Chromium runs it, and what it put into its title comes back."""

import re
import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def title_of(page: Path) -> str:
    """Load `page` in Chromium, 1000 pixels wide; return its title after its scripts have run."""
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
    ]
    command += ["--no-first-run", "--disable-sync", "--disable-component-update", "--disable-quic"]
    command += [
        f"--user-data-dir={page.parent / 'profile'}",
        "--window-size=1000,800",
        "--dump-dom",
        page.as_uri(),
    ]
    dom = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title is not None
    return title[1]
