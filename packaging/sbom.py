"""What a release is made of, as CycloneDX 1.5 in JSON: what it needs, and its files with their sums.

    python3 packaging/sbom.py VERSION FILE... >sbom.json

The dependencies are those of pyproject.toml. Same files, same bytes: no time and no random number is in it.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: name, what it needs; Python before 3.11 has no reader of TOML, and this list has one shape.
_DEPENDENCIES = re.compile(r"^dependencies = \[\n(.*?)^\]", re.DOTALL | re.MULTILINE)
_REQUIREMENT = re.compile(r'"([\w.-]+)([<>=].*)?"')


def requirements() -> list[tuple[str, str]]:
    """Name and range of versions of each package that the command needs."""
    block = _DEPENDENCIES.search((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if block is None:
        raise SystemExit("sbom.py: pyproject.toml has no list of dependencies")
    return _REQUIREMENT.findall(block[1])


def sbom(version: str, files: list[Path]) -> dict[str, object]:
    """The document."""
    needed = [
        {"type": "library", "bom-ref": f"pkg:pypi/{name}", "name": name, "purl": f"pkg:pypi/{name}",
         "description": f"at run time, {wanted or 'any version'}"}
        for name, wanted in requirements()
    ]  # fmt: skip
    made = [
        {"type": "file", "bom-ref": file.name, "name": file.name,
         "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}]}
        for file in sorted(files, key=lambda file: file.name)
    ]  # fmt: skip
    itself = {
        "type": "application", "bom-ref": "numa-align", "name": "numa-align", "version": version,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }  # fmt: skip
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": itself},
        "components": [*needed, *made],
        "dependencies": [{"ref": "numa-align", "dependsOn": [part["bom-ref"] for part in needed]}],
    }


if __name__ == "__main__":
    print(json.dumps(sbom(sys.argv[1], [Path(name) for name in sys.argv[2:]]), indent=1))
