"""What is inside the binary, from Cargo.lock: a list in CycloneDX, or with --licences the texts of their licences.

usage: sbom.py [--licences]
"""
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
TARGET = "x86_64-unknown-linux-gnu"

metadata = json.loads(subprocess.run(
    ["cargo", "metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", TARGET],
    cwd=HERE.parent.parent, check=True, stdout=subprocess.PIPE).stdout)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
root = next(package for package in packages.values() if package["name"] == "lottery" and package["source"] is None)


def is_linked(dependency):
    """Neither for tests nor for build scripts alone."""
    return any(kind["kind"] is None for kind in dependency["dep_kinds"])


found, waiting = set(), [root["id"]]
while waiting:
    node = nodes[waiting.pop()]
    for dependency in filter(is_linked, node["deps"]):
        if dependency["pkg"] not in found:
            found.add(dependency["pkg"])
            waiting.append(dependency["pkg"])
parts = sorted((packages[id] for id in found), key=lambda part: (part["name"], part["version"]))


def expression(part):
    # Older packages write "MIT/Apache-2.0".
    return (part["license"] or "see its licence file").replace("/", " OR ")


def purl(part):
    return f"pkg:cargo/{part['name']}@{part['version']}"


if "--licences" in sys.argv[1:]:
    for part in parts:
        print(f"== {part['name']} {part['version']}: {expression(part)}")
        for path in sorted(pathlib.Path(part["manifest_path"]).parent.iterdir()):
            if path.is_file() and path.name.upper().startswith(("LICEN", "COPYING", "NOTICE")):
                print(f"-- {path.name}\n{path.read_text(errors='replace').rstrip()}")
        print()
else:
    print(json.dumps({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": {"type": "application", "name": root["name"], "version": root["version"],
                                   "purl": purl(root)}},
        "components": [{"type": "library", "name": part["name"], "version": part["version"], "purl": purl(part),
                        "bom-ref": purl(part), "licenses": [{"expression": expression(part)}]} for part in parts],
    }, indent=1))
