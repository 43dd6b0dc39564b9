"""Write requirements.lock and environment.yml from pyproject.toml and what is installed: `make lock`.

Run it on Linux, which has all packages but three. It starts at pyproject's dependencies and follows every
installed package's own requirements, once for each platform and Python that the course supports; a package
that only some platforms ask for gets a marker. Versions are public ones (torch's local tag `+cpu` is dropped),
and the CUDA build's own packages are left to torch. `--check` compares instead of writing, and fails on a
difference.
"""

import argparse
import functools
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13")  # from their first release on: Debian 12 has 3.11.2
# platform -> what its markers see
PLATFORMS = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"},
    "darwin": {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64"},
    "win32": {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt", "platform_machine": "AMD64"},
}
# Needed only where this lock is not made, so their versions cannot be read off an installation.
ELSEWHERE = {"appnope": "1.0.0", "colorama": "0.4.6", "pywinpty": "3.1.2"}
# What torch's CUDA build asks for besides triton; it brings the versions that fit.
LEFT_TO_TORCH = ("nvidia-", "cuda-")


def environments():
    """Yield (platform, marker environment) for every supported pair of platform and Python."""
    for platform, names in PLATFORMS.items():
        for python in PYTHONS:
            yield (
                platform,
                {
                    **names,
                    "python_version": python,
                    "python_full_version": python + ".0",
                    "implementation_name": "cpython",
                    "platform_python_implementation": "CPython",
                },
            )


def direct():
    """Return pyproject's dependencies as Requirements."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(line) for line in project["dependencies"]]


def closure(environment):
    """Return the canonical names of all packages needed in one marker environment; every pin must fit."""
    found, todo = set(), [(requirement, {""}) for requirement in direct()]
    while todo:
        requirement, extras = todo.pop()
        name = canonicalize_name(requirement.name)
        if name.startswith(LEFT_TO_TORCH) or not applies(requirement, environment, extras):
            continue
        if not requirement.specifier.contains(version(name), prereleases=True):
            raise SystemExit(f"{pin(name)} does not fit {requirement} ({environment['sys_platform']})")
        if (name, frozenset(requirement.extras)) not in found:
            check_python(name, environment["python_full_version"])
            found.add((name, frozenset(requirement.extras)))
            todo += [(needed, {"", *requirement.extras}) for needed in requires(name)]
    return {name for name, _ in found}


def check_python(name, python):
    """Fail when one package's pinned version does not run on a Python that the course supports."""
    supported = None if name in ELSEWHERE else metadata.metadata(name).get("Requires-Python")
    if supported and not SpecifierSet(supported).contains(python):
        raise SystemExit(f"{pin(name)} needs Python {supported}, which {python} is not; name an older version of it")


def applies(requirement, environment, extras):
    """Return whether a requirement counts in `environment` for any of `extras` ("" is the package itself)."""
    return requirement.marker is None or any(
        requirement.marker.evaluate({**environment, "extra": extra}) for extra in extras
    )


@functools.cache
def requires(name):
    """Return the requirements of one installed package."""
    return [] if name in ELSEWHERE else [Requirement(line) for line in metadata.requires(name) or []]


@functools.cache
def version(name):
    """Return the public version that is installed, or named in ELSEWHERE."""
    return ELSEWHERE.get(name) or Version(metadata.version(name)).public


def pin(name):
    """Return `Name==version`, with the name as its own project spells it."""
    return f"{name if name in ELSEWHERE else metadata.metadata(name)['Name']}=={version(name)}"


def lock_lines():
    """Return the lines of requirements.lock: one pin a package, with a marker where not all platforms need it."""
    wanted = {}
    for platform, environment in environments():
        for name in closure(environment):
            wanted.setdefault(name, set()).add(platform)
    return [pin(name) + marker(wanted[name]) for name in sorted(wanted)]


def marker(platforms):
    """Return the marker that means exactly these platforms, empty for all of them."""
    if len(platforms) == len(PLATFORMS):
        return ""
    if len(platforms) == len(PLATFORMS) - 1:
        (absent,) = set(PLATFORMS) - platforms
        return f"; {Marker(f'sys_platform != {absent!r}')}"
    (only,) = platforms
    return f"; {Marker(f'sys_platform == {only!r}')}"


def texts():
    """Return {path: what it should hold} for the two files that this tool writes."""
    lines = lock_lines()
    lock = "# Every package of the course, for Linux, macOS and Windows. Written by `make lock`; do not edit.\n"
    conda = (
        "# For conda and for Binder, with the pins of requirements.lock. Written by `make lock`; do not edit.\n"
        "name: llm-quantization-course\nchannels:\n  - conda-forge\n  - nodefaults\n"
        f"dependencies:\n  - python={PYTHONS[0]}\n  - pip\n  - pip:\n"
    )
    pins = [line.replace('"', "'") for line in lines] + ["-e ."]
    return {
        ROOT / "requirements.lock": lock + "".join(f"{line}\n" for line in lines),
        ROOT / "environment.yml": conda + "".join(f'      - "{line}"\n' for line in pins),
    }


def main():
    """Write both files, or with --check say which of them is out of date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    stale = [path for path, text in texts().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if not check:
            path.write_text(texts()[path], encoding="utf-8")
        print(f"{path.name}: {'is out of date; run `make lock`' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
