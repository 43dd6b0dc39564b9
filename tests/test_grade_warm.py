"""One process has imported torch for all slots, on either side of the wall: what slots share, and what they do not."""

import os
import signal
import time
from pathlib import Path

import pytest

from course_lib.files import repository
from course_lib.grading import bubblewrap, worker
from course_lib.grading.pool import Pool, PoolBroken
from course_lib.grading.proxy import Answers, Job
from course_lib.grading.sandbox import Copy, Limits, NoSandbox, Template
from course_lib.grading.submission import Submission
from course_lib.grading.warm import OWN, Warm
from course_lib.grading.worker import Setting
from tests.test_grade_unit import submission

ROOT = repository()
FOLDER = next((ROOT / "solutions").glob("ps01-*"))
SMALL = Limits(memory_mb=400, scratch_mb=16, file_mb=8, processes=16, life_s=600.0)
KINDS = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def slots(copy):
    """Two slots' templates, of one process."""
    warm = Warm(copy.path, 20)
    if not warm.is_anyones:
        pytest.skip("root that may not mount takes each slot's user before")
    made = [Template(copy, slot, SMALL, warm=warm) for slot in (20, 21)]
    for template in made:
        template.warm_up()
    yield made
    for template in made:
        template.close()
    warm.close()


def ask(template, cell, names="v"):
    answers = Answers(template, Job([(0, cell)], tuple(names.split())))
    answers.start()
    assert not answers.outcome.errors, answers.outcome
    return answers


def below(pid):
    """A process and all that it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(p for child in children for p in below(int(child)))]


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def namespaces(pid):
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in KINDS}


def said(pid, name):
    """A line of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":")[1].split() for line in lines if line.startswith(f"{name}:"))


def until(true, seconds=60.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


# ---- the sandbox's side


def test_slots_of_one_process_have_users_and_namespaces_of_their_own(slots):
    first, second = slots
    mine, theirs = ask(first, "v = 1"), ask(second, "v = 1")
    a, b = (children(template.parent)[-1] for template in slots)
    assert all(namespaces(a)[kind] != namespaces(b)[kind] for kind in KINDS)
    assert all(namespaces(first.parent)[kind] != namespaces(second.parent)[kind] for kind in ("user", "pid"))
    assert first.parent != second.parent and first.process.pid == second.process.pid
    common = below(first.process.pid)
    torch = next(pid for pid in common if {*children(pid)} & {parent_of(first.parent)})
    assert [said(pid, "CapPrm") for pid in (a, b)] == [["0" * 16]] * 2
    assert [int(said(t.parent, "CapPrm")[0], 16) for t in slots] == [1 << bubblewrap.CAP_SYS_ADMIN] * 2
    assert len(children(torch)) == 2
    if os.geteuid() == 0:
        users = [int(said(pid, "Uid")[n]) for pid in (a, b, torch) for n in range(4)]
        assert users == [n for slot in (20, 21, OWN) for n in 4 * [bubblewrap.FIRST_UID + slot]]
        assert said(torch, "CapEff") == [f"{1 << 6 | 1 << 7:016x}"]  # setgid and setuid
        assert all(said(pid, "Groups") == [] for pid in (a, b, torch, first.parent, second.parent))
    mine.end()
    theirs.end()


def parent_of(pid):
    return int(said(pid, "PPid")[0])


def test_nothing_that_can_be_written_is_shared_by_a_fork(slots):
    """Memory that was mapped as shared before the fork would be one memory afterwards."""
    for pid in below(slots[0].process.pid)[1:]:
        maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
        assert not [line for line in maps if line.split()[1][1] == "w" and line.split()[1][3] == "s"]


LISTENS = """
import os, socket
open('/tmp/left', 'w').write('x'); open('/dev/shm/left', 'w').write('x')
s = socket.socket(socket.AF_UNIX); s.bind('\\0here'); s.listen()
t = socket.create_server(('127.0.0.1', 4321))
v = os.getpid()
"""
REACHES = """
import os, signal, socket
v = [os.listdir('/tmp'), os.listdir('/dev/shm'), sorted(os.listdir('/proc'))]
for family, address in ((socket.AF_UNIX, '\\0here'), (socket.AF_INET, ('127.0.0.1', 4321))):
    try:
        socket.socket(family).connect(address)
        v.append(address)
    except OSError:
        pass
for pid in [-1, *range(2, 5000)]:
    try:
        os.kill(pid, signal.SIGKILL)
        v.append(pid)
    except OSError:
        pass
"""


def test_a_slot_reaches_nothing_of_another_one(slots):
    listens, reaches = ask(slots[0], LISTENS), ask(slots[1], REACHES)
    assert reaches.names()["v"] == [["work"], [], ["cpuinfo", "meminfo"]]
    again = ask(slots[0], "v = 2")  # its template is alive, too
    assert listens.names()["v"] == 1 and again.names()["v"] == 2
    for answers in (listens, reaches, again):
        answers.end()


def test_the_end_of_a_slot_ends_its_processes_and_no_others(copy):
    warm = Warm(copy.path, 22)
    templates = [Template(copy, slot, SMALL, warm=warm) for slot in (22, 23)]
    answers = [ask(template, "def f(x):\n    return x", names="f") for template in templates]
    ended, left = (below(template.parent) for template in templates)
    templates[0].close()
    until(lambda: not any(is_running(pid) for pid in ended))
    assert answers[1].names()["f"](3) == 3 and all(map(is_running, left))
    successor = Template(copy, 22, SMALL, warm=warm)
    assert ask(successor, "v = 1").names()["v"] == 1
    warm.process.kill()
    with pytest.raises(NoSandbox):
        successor.spawn()
    until(lambda: not any(map(is_running, left)))
    for template in templates:
        template.close()
    warm.close()


def is_running(pid):
    try:
        return said(pid, "State")[0] != "Z"
    except OSError:
        return False


def test_where_a_user_must_be_taken_before_each_slot_has_a_process_of_its_own(copy, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("for root")
    monkeypatch.setattr(bubblewrap, "may_mount", lambda: False)
    work = object.__new__(worker.Work)
    work.setting, work.copy, work.warm = Setting("", "", str(copy.path), 1, first_slot=24), copy, {}
    for slot in (0, 1, 0):
        work.renew(slot)
    assert sorted(work.warm) == [0, 1] and not any(warm.is_anyones for warm in work.warm.values())
    pids = [warm.process.pid for warm in work.warm.values()]
    assert [int(said(pid, "Uid")[0]) for pid in pids] == [bubblewrap.FIRST_UID + slot for slot in (24, 25)]
    work.warm[1].process.kill()
    work.warm[1].process.wait()
    work.renew(1)
    assert work.warm[0].process.pid == pids[0] and work.warm[1].process.pid != pids[1]
    work.close()


# ---- the trusted side


@pytest.mark.long
def test_workers_are_forked_from_one_process_and_share_one_in_bubblewrap():
    copy = Copy.make()
    setting = Setting(str(ROOT), str(FOLDER), str(copy.path), None)
    try:
        with Pool(2, setting) as pool:
            pool.seed = 5
            one, two = Submission("bert", submission().files), Submission("carl", problem="There is none.")
            results = {unit.student: result for unit, result in pool.run([submission(), one, two])}
            assert {s: r["score"] for s, r in results.items()} == {"anna": 20, "bert": 20, "carl": None}
            mother = pool.mother.process.pid
            assert os.listdir(f"/proc/{mother}/task") == [str(mother)]  # a process with threads is not to be forked
            bwrap, *workers = children(mother)
            assert len(workers) == 2 and "bwrap" in Path(f"/proc/{bwrap}/comm").read_text()
            os.kill(bwrap, signal.SIGKILL)  # each worker ends when it notices, and the next one finds a new process
            assert [result["score"] for _, result in pool.run([submission(), one])] == [20, 20]
            assert bwrap not in children(mother)
            pids = below(mother)
        until(lambda: not any(map(is_running, pids)))
    finally:
        copy.remove()


class Counts:
    """Work whose workers say how often it was made, and end their mother on demand."""

    made = 0

    def __init__(self, setting, slots):
        Counts.made += 1
        self.setting, self.slots, self.pid = setting, slots, os.getpid()
        if setting == "broken":
            raise ValueError("It cannot be made.")

    def renew(self, slot):
        pass

    def serve(self, pipe, slot):
        pipe.send(("ready", False))
        while True:
            unit, seed = pipe.recv()
            if unit.student == "mother" and not os.path.exists(self.setting):
                open(self.setting, "w").close()
                os.kill(self.pid, signal.SIGKILL)
                time.sleep(60)
            pipe.send(("graded", {"made": Counts.made, "slots": self.slots, "mother": self.pid, "seed": seed}))

    def close(self):
        pass


def test_what_workers_share_is_made_once(tmp_path):
    with Pool(3, str(tmp_path / "x"), work=Counts) as pool:
        pool.seed = 7
        found = [result for _, result in pool.run([Submission(str(n)) for n in range(30)])]
        mother = pool.mother.process.pid
    assert found == [{"made": 1, "slots": 3, "mother": mother, "seed": 7}] * 30
    assert not is_running(mother)


def test_a_mother_that_dies_is_replaced_and_nothing_is_lost(tmp_path):
    with Pool(2, str(tmp_path / "x"), work=Counts) as pool:
        while not all(one.ready for one in pool.workers):
            list(pool.run([Submission("z")]))
        units = [Submission(name) for name in ("a", "mother", "b", "c", "d")]
        assert sorted(unit.student for unit, result in pool.run(units) if result) == ["a", "b", "c", "d", "mother"]


def test_work_that_cannot_be_made_is_said():
    with Pool(2, "broken", work=Counts) as pool, pytest.raises(PoolBroken, match="It cannot be made"):
        list(pool.run([Submission("a")]))
