"""asv's pages load their JavaScript libraries from the network; here they are given copies that lie beside them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

# <script src="https://.../NAME" integrity=...> or <link href="https://.../NAME" ...>, with whatever attributes follow.
_FOREIGN = re.compile(r'(?P<attribute>src|href)="https://[^"]*/(?P<name>[^"/]+\.(?:js|css))"(?: integrity="[^"]*")?')


def with_local_libraries(page: Path, libraries: Path) -> list[str]:
    """Let a page load what it can from `libraries`, a folder of any depth; returns the names of what isn't there."""
    missing = []

    def local(found: re.Match[str]) -> str:
        name = found["name"]
        plain = re.sub(r"-\d[\d.]*(?=\.)", "", name)  # jquery-3.3.1.min.js is jquery.min.js in its package
        copies = [file for wanted in (plain, plain.replace(".min.", ".")) for file in sorted(libraries.rglob(wanted))]
        if not copies:
            missing.append(name)
            return found[0]
        shutil.copyfile(copies[0], page.parent / name)
        return f'{found["attribute"]}="{name}"'

    text = page.read_text(encoding="utf-8")
    page.write_text(_FOREIGN.sub(local, text), encoding="utf-8")
    return missing
