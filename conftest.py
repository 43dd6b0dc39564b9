"""What every test stands on: a learner's state of its own, one thread, and clear words about what was not run."""

import os
import shutil
import tempfile
from collections import Counter

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; two workers share two cores
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
from hypothesis import settings

from course_lib import doctor

settings.register_profile("course", deadline=None, derandomize=True)  # the same examples here and in CI
settings.register_profile("random", deadline=None, print_blob=True)  # new ones: --hypothesis-profile random
settings.load_profile("course")

# marker: (what it needs, how to look for it)
NEEDS = {
    "browser": ("chromium", doctor.chromium),
    "sandbox": ("bubblewrap", doctor.bubblewrap),
    "postgres": ("PostgreSQL", doctor.postgres),
}
IN_CI = os.environ.get("CI", "").lower() == "true"
collect_ignore_glob = ["tests/golden/*"]  # scripts that made the golden files, with packages that are not here
_found = {}


def pytest_configure(config):
    """Give the whole session a state of its own, for fixtures that outlive one test and for child processes."""
    config.course_folder = tempfile.mkdtemp(prefix="course-tests-")
    for name in ("COURSE_HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        os.environ[name] = os.path.join(config.course_folder, name.lower())


def pytest_unconfigure(config):
    """Remove the session's state."""
    shutil.rmtree(getattr(config, "course_folder", ""), ignore_errors=True)


@pytest.fixture(autouse=True)
def course_home(tmp_path, monkeypatch):
    """Give each test a COURSE_HOME of its own, and return it."""
    home = tmp_path / "course-home"
    home.mkdir()
    monkeypatch.setenv("COURSE_HOME", str(home))
    return home


@pytest.fixture(scope="module")
def copy():
    """The engine's files as a sandbox sees them."""
    from course_lib.grading.sandbox import Copy

    made = Copy.make()
    yield made
    made.remove()


@pytest.fixture(scope="session")
def browser():
    """Chromium. One for the whole session: a process can run Playwright's synchronous side only once at a time."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        instance = playwright.chromium.launch(executable_path=doctor.chromium(), args=flags)
        yield instance
        instance.close()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Deal long tests out to the workers, to be run first: what is left for the end is short, so all end together.

    `--dist worksteal` gives each worker a run of equal length; who is done takes the end of another's. Long tests
    of one `xdist_group` stay together, since they share a dear fixture.
    """
    if not (workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0))):
        return
    groups, short, order = {}, [], []
    for item in items:
        mark = item.get_closest_marker("xdist_group")
        group = groups.setdefault(mark.args[0] if mark else item.nodeid, [])
        (group if item.get_closest_marker("long") else short).append(item)
    for worker in range(workers):
        share = (len(items) - len(order)) // (workers - worker)
        first = [item for group in list(filter(None, groups.values()))[worker::workers] for item in group]
        rest = max(0, share - len(first))
        order += first + short[:rest]
        del short[:rest]
    items[:] = order + short


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Skip a marked test whose program is missing; with CI=true that is a failure."""
    for mark, (program, find) in NEEDS.items():
        if item.get_closest_marker(mark) is None:
            continue
        if program not in _found:
            _found[program] = find()
        if not _found[program]:
            (pytest.fail if IN_CI else pytest.skip)(f"{program} is missing here; this test needs it")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    """Say in the last lines which tests were skipped because a program is missing."""
    for program, _ in NEEDS.values():
        skipped = [report for report in terminalreporter.stats.get("skipped", []) if program in str(report.longrepr)]
        if skipped:
            files = Counter(report.nodeid.split("::")[0] for report in skipped)
            listing = ", ".join(f"{count} in {file}" for file, count in sorted(files.items()))
            terminalreporter.write_line(
                f"SKIPPED because {program} is missing: {len(skipped)} tests ({listing}). CI runs them.", yellow=True
            )
