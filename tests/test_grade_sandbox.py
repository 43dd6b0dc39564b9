"""The sandbox: what a fork can see, reach, use and leave behind, from inside and from outside."""

import errno
import inspect
import json
import os
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from course_lib.checks.limit import TimeUp
from course_lib.checks.plain import Unreadable
from course_lib.grading import bubblewrap, proxy, sandbox
from course_lib.grading.inside import seccomp
from course_lib.grading.proxy import Answers, Job
from course_lib.grading.replies import OtherError, SandboxEnded
from course_lib.grading.sandbox import Limits, NoSandbox, Template
from tests.crowd import needs_schedule, one_crowded_processor

pytestmark = pytest.mark.sandbox
SMALL = Limits(memory_mb=400, scratch_mb=16, file_mb=8, processes=16, life_s=20.0)


@pytest.fixture(scope="module")
def template(copy):
    made = Template(copy, slot=9, limits=SMALL)
    made.warm_up()
    yield made
    made.close()


@pytest.fixture
def ask(template):
    """ask(cell, …, names="f v"): run cells in a fresh fork; its Answers."""
    started = []

    def ask(*cells, names="v", modules=(), removed=(), cell_s=10.0):
        job = Job(list(enumerate(cells)), tuple(names.split()), modules, removed, cell_s)
        started.append(Answers(template, job))
        started[-1].start()
        return started[-1]

    yield ask
    for answers in started:
        answers.end()


def value(ask, cell, **more):
    """What a cell has put into v."""
    answers = ask(cell, **more)
    assert not answers.outcome.errors, answers.outcome
    return answers.names()["v"]


def error(ask, cell, **more):
    """The type of the error that stops a cell."""
    answers = ask(cell, **more)
    return answers.outcome.errors[0]["type"]


# ---- what crosses


def test_a_function_is_called_with_values_and_answers_with_values(ask):
    f = ask(
        "import torch\ndef f(w, b=2, *, c):\n    return {'w': w.to(torch.float8_e4m3fn), 'rest': (b, [c])}", names="f"
    ).names()["f"]
    back = f(torch.tensor([1.5, -2.0]), c=2**70)
    assert back["w"].dtype == torch.float8_e4m3fn and back["w"].float().tolist() == [1.5, -2.0]
    assert back["rest"] == (2, [2**70])
    assert str(inspect.signature(f)) == "(w, b=…, *, c)"


def test_what_a_function_does_to_its_arguments_is_done_to_ours(ask):
    f = ask("def f(w, items, table):\n    w.zero_()\n    items.append(1)\n    table['a'] = 2", names="f").names()["f"]
    w, items, table = torch.ones(3), [0], {}
    assert f(w, items, table) is None
    assert w.tolist() == [0, 0, 0] and items == [0, 1] and table == {"a": 2}


@pytest.mark.parametrize(
    "raised, kind, text",
    [
        ("ValueError('wrong')", ValueError, "wrong, on line 3 of the cell: raise"),
        ("NotImplementedError()", NotImplementedError, ""),
        ("KeyboardInterrupt()", OtherError, "KeyboardInterrupt"),
        ("SystemExit(3)", OtherError, "SystemExit"),
        ("type('MyError', (KeyError,), {})('x')", KeyError, "x"),
    ],
)
def test_errors_come_as_pythons_own(ask, raised, kind, text):
    f = ask(f"def f(x):\n    1\n    raise {raised}", names="f").names()["f"]
    with pytest.raises(kind) as caught:
        f(1)
    assert type(caught.value) is kind and text in str(caught.value)


def test_in_the_hidden_half_no_word_of_the_students_comes_back(ask):
    answers = ask(
        "def f(x):\n    if x: raise ValueError(f'secret {x}')\n    return type(f'Secret{x}', (), {})()\n", names="f"
    )  # fmt: skip
    answers.terse = True
    f = answers.names()["f"]
    with pytest.raises(ValueError) as caught:
        f(42)
    with pytest.raises(Unreadable) as refused:
        f(0)
    assert "42" not in str(caught.value) and "ecret" not in str(caught.value) + str(refused.value)


@pytest.mark.parametrize("result", ["object()", "{1, 2}", "lambda: 0", "open('/dev/null')", "2**5000", "{1: 2}"])
def test_other_objects_do_not_cross(ask, result):
    f = ask(f"def f():\n    return {result}", names="f").names()["f"]
    with pytest.raises(Unreadable):
        f()


FORGED = """
import os, struct
def head(n):
    return struct.pack('<4sQ', b'QW1\\n', n)
def f(x):
    data = {data}
    os.write(3, data)
    return x
"""


@pytest.mark.parametrize(
    "data",
    [
        "b'garbage' * 9", "head(2**60)", "head(0)", "head(5) + b'l' + b'\\xff' * 4", "head(1) + b'N'",
    ],
)  # fmt: skip
def test_forged_frames_end_the_call_and_not_the_grader(ask, data):
    answers = ask(FORGED.format(data=data), names="f")
    with pytest.raises(SandboxEnded):
        answers.names()["f"](1)
    assert answers.sandbox is None


def test_a_forged_reply_is_only_another_answer(ask):
    answers = ask("def f(x):\n    import sys\n    w = sys.modules['inside.wire']\n    import os\n"
                  "    os.write(3, w.frame(('value', 1, 'forged', None)))\n    return 'mine'", names="f")  # fmt: skip
    f = answers.names()["f"]
    assert f(1) == "forged"
    with pytest.raises(SandboxEnded):  # the true answer to call 1 now stands in the way of call 2
        f(2)


def test_a_process_that_ends_is_replaced_and_at_most_three_times(ask):
    f = ask("import os\ndef f(x):\n    return x if x else os._exit(0)", names="f").names()["f"]
    assert f(1) == 1
    for _ in range(3):
        with pytest.raises(SandboxEnded, match="process"):
            f(0)
    with pytest.raises(SandboxEnded, match="too often"):
        f(1)


def test_a_slow_function_is_left_alone_until_the_next_half(ask, monkeypatch):
    monkeypatch.setattr(proxy, "CALL_S", 0.3)
    answers = ask("import time\ndef f(x):\n    time.sleep(x)\n    return x", names="f")
    f = answers.names()["f"]
    for _ in range(3):
        with pytest.raises(TimeUp):
            f(5)
    answers.renew()
    assert f(0) == 0 and answers.starts == 2


COMPUTES = """
import time

def f(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return seconds

f(0.3)
"""


@needs_schedule
def test_waiting_for_a_processor_does_not_count(ask, template, monkeypatch):
    monkeypatch.setattr(proxy, "CALL_S", 0.7)
    monkeypatch.setattr(template, "limits", replace(SMALL, life_s=600.0))
    with one_crowded_processor(pids_below(template.process.pid)):
        started = time.monotonic()
        answers = ask(COMPUTES, names="f", cell_s=0.6)
        f = answers.names()["f"]
        assert not answers.outcome.errors
        assert f(0.3) == 0.3 and time.monotonic() - started > 2  # longer than all limits together
        with pytest.raises(TimeUp):
            f(9.0)


# ---- what a fork can see and reach


def test_it_is_nobody_and_alone(ask):
    code = "from os import *\nv = (getuid(), getgid(), getgroups(), getpid(), getcwd(), listdir(), listdir('/tmp'))"
    uid, gid, groups, pid, home, here, scratch = value(ask, code)
    assert uid == gid == 1000 and not set(groups) - {1000, 65534} and pid == 1
    assert home == "/tmp/work" and here == [] and scratch == ["work"]


def test_the_process_outside_is_not_root(template):
    sandbox = template.spawn()
    sandbox.channel.sendall(b"x")  # it waits for a job
    uids = {uid_of(pid) for pid in pids_below(template.process.pid)}
    sandbox.end()
    assert template.uid in uids if template.uid else uids == {os.getuid()}


def pids_below(pid):
    """A process and all that it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(p for child in children for p in pids_below(int(child)))]


def uid_of(pid):
    return os.stat(f"/proc/{pid}").st_uid


def test_no_secret_in_its_environment_memory_or_arguments(ask, template, monkeypatch):
    assert set(value(ask, "import os\nv = list(os.environ)")) <= set(bubblewrap.environment()) | {"PWD", "LC_CTYPE"}
    for pid in pids_below(template.process.pid):
        shown = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        assert b"graded" not in shown and b"solutions" not in shown and b"gradebook" not in shown
    assert not value(ask, "import sys\nv = [m for m in sys.modules if m.split('.')[0] in ('course_lib', 'graded')]")


def test_only_the_system_python_and_course_lib_are_there(ask):
    seen = value(
        ask,
        "import os\nv = [os.path.join(h, n) for h in ('/', '/course', '/etc', '/proc', '/dev') for n in os.listdir(h)]",
    )
    assert "/course/course_lib" in seen and len([p for p in seen if p.startswith("/course/")]) == 1
    assert {p for p in seen if p.startswith("/proc/")} == {"/proc/cpuinfo", "/proc/meminfo"}
    assert not {"/etc/passwd", "/etc/shadow", "/home", "/var", "/mnt", "/sys", "/run"} & set(seen)
    root = str(Path(bubblewrap.__file__).parents[2])
    listing = f"import os\nv = sorted(os.listdir({root!r})) if os.path.isdir({root!r}) else []"
    assert set(value(ask, listing)) <= {".venv"}


@pytest.mark.parametrize(
    "path",
    [
        "/x",
        "/usr/x",
        "/dev/x",
        "/proc/x",
        "/course/course_lib/x",
        "/engine/x",
        "/masks/file",
        "/course/course_lib/qtensor.py",
    ],
)
def test_it_can_write_nowhere_but_in_its_scratch_folder(ask, path):
    assert error(ask, f"open({path!r}, 'w')") in ("OSError", "PermissionError", "FileNotFoundError")


def test_no_network_neither_out_nor_to_this_machine(ask):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert error(ask, f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)") == "OSError"
    assert error(ask, "import socket\nsocket.create_connection(('1.1.1.1', 53), 2)") == "OSError"


def test_no_socket_but_those_that_end_at_a_network_namespace(ask):
    assert value(ask, "from socket import *\nv = len([socket(f) for f in (AF_UNIX, AF_INET, AF_INET6)])") == 3
    for family in (16, 17, 30, 38, 40, 44):  # netlink, packet, TIPC, crypto, vsock, XDP
        assert error(ask, f"import socket\nsocket.socket({family}, socket.SOCK_RAW, 0)") == "PermissionError"


def test_nothing_stays_for_the_next_fork(ask):
    code = "import os\nfor n in ('/tmp/left', '/dev/shm/left', '/tmp/work/left'): open(n, 'w').write('x')\n"
    code += "import torch, builtins\nbuiltins.left = torch.left = os.environ['left'] = 'x'\nv = 1"
    assert value(ask, code) == 1
    seen = value(ask, "import os, torch, builtins\nv = [os.listdir(p) for p in ('/tmp', '/dev/shm', '.')] + "
                 "[hasattr(torch, 'left'), hasattr(builtins, 'left'), 'left' in os.environ]")  # fmt: skip
    assert seen == [["work"], [], [], False, False, False]


def test_forks_do_not_see_each_other(ask, template):
    first, second = ask("v = 1"), ask("import os\nv = 1\ndef f(n):\n    os.kill(n, 9)", names="v f")
    f = second.names()["f"]
    for pid in range(2, 40):
        with pytest.raises(OSError):
            f(pid)
    assert first.sandbox and first.names()["v"] == 1


def test_every_fork_has_all_namespaces_to_itself_and_the_template_only_two(ask, template):
    ask("v = 1"), ask("v = 1")
    pids = pids_below(template.process.pid)
    *_, below, _, home, first, second = map(namespaces, pids)
    assert all(len({home[kind], first[kind], second[kind]}) == 3 for kind in home)
    assert {kind for kind in home if home[kind] != below[kind]} == {"user", "pid"}
    assert list(map(capabilities, pids[-3:])) == [1 << bubblewrap.CAP_SYS_ADMIN, 0, 0]  # over those two


def capabilities(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("CapPrm"))


def namespaces(pid):
    kinds = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds}


def test_daemons_end_with_the_fork(ask, template):
    code = "import os, time\nfor _ in range(3):\n    if os.fork() == 0: os.setsid() or time.sleep(600)\nv = 1"
    before = len(pids_below(template.process.pid))
    answers = ask(code)
    assert len(pids_below(template.process.pid)) >= before + 4
    answers.end()
    assert len(pids_below(template.process.pid)) == before


@pytest.mark.parametrize(
    "call",
    ["unshare(0x10000000)", "unshare(0x20000)", "setns(3, 0)", "ptrace(16, 1, 0, 0)", "umount2(b'/proc', 2)",
     "mount(b'none', b'/tmp', b'tmpfs', 0, None)", "chroot(b'/tmp')", "syscall(321, 0, 0, 0)", "syscall(425, 1, 0)",
     "semget(0, 1, 0o600)", "vmsplice(1, None, 0, 0)", "syscall(206, 1, 0)", "syscall(444, 0, 0, 1)",
     "syscall(221, 1, 0, 0, 4)", "syscall(27, 0, 0, 0)", "syscall(327, 0, 0, 0, 0, 0)", "syscall(451, 0, 0, 0, 0)"],
)  # fmt: skip
def test_calls_that_attacks_begin_with_are_refused(ask, call):
    code = f"import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nv = (libc.{call}, ctypes.get_errno())"
    if "syscall" in call and os.uname().machine != "x86_64":
        pytest.skip("numbers of x86-64")
    assert value(ask, code) == (-1, 1)


def test_a_file_may_be_locked_but_not_its_bytes(ask):
    code = "import fcntl\nv = []\nwith open('x', 'w') as file:\n    fcntl.flock(file, fcntl.LOCK_EX)\n"
    code += "    fcntl.fcntl(file, fcntl.F_GETFL)\n    try:\n        fcntl.lockf(file, fcntl.LOCK_EX)\n"
    assert value(ask, code + "    except OSError as error:\n        v = error.errno") == errno.ENOLCK


def test_it_holds_no_capability_and_can_win_none(ask):
    code = """
import ctypes
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
libc = ctypes.CDLL(None)
libc.capget(header, data)
bounding = [libc.prctl(23, c, 0, 0, 0) for c in range(40)]
v = (list(data), bounding, libc.prctl(39, 0, 0, 0, 0), libc.prctl(21, 0, 0, 0, 0))
"""
    sets, bounding, no_new_privileges, filtered = value(ask, code)
    assert sets == [0] * 6 and set(bounding) == {0} and no_new_privileges == 1 and filtered == 2


def test_the_filter_fits_the_kernels_limits():
    for machine in seccomp.MACHINES:
        program = seccomp.program(machine)
        assert len(program) < 4096 and program[-1][0] == 6
        assert all(at + 1 + max(jt, jf) < len(program) for at, (code, jt, jf, _) in enumerate(program) if code != 6)


# ---- what it may use


def test_memory_of_one_process(ask):
    assert error(ask, "v = bytearray(800 * 2**20)") == "MemoryError"
    assert error(ask, "import torch\ntorch.ones(2**28)") == "RuntimeError"


def test_memory_of_all_processes_together(ask):
    code = "import os, time\ndef f():\n    for _ in range(6):\n        if os.fork() == 0:\n"
    code += "            v = b'x' * (300 * 2**20)\n            time.sleep(60)\n    time.sleep(30)"
    with pytest.raises(MemoryError):
        ask(code, names="f").names()["f"]()


@pytest.mark.parametrize("way", ["will not be looked at", "is a process whose first thread has ended"])
def test_memory_of_a_child_that(way, ask):
    code = """
import ctypes, os, threading, time
libc, pids = ctypes.CDLL(None), []
def hold():
    time.sleep(0.2)
    held = b"x" * (300 * 2**20)
    time.sleep(60)
def f():
    for _ in range(4):
        if os.fork() == 0:
            {}
    time.sleep(30)
"""
    exit_of_a_thread = 60 if os.uname().machine == "x86_64" else 93
    do = "libc.prctl(4, 0, 0, 0, 0); hold()"
    if "thread" in way:
        do = f"threading.Thread(target=hold).start(); libc.syscall({exit_of_a_thread}, 0)"
    with pytest.raises(MemoryError):
        ask(code.format(do), names="f").names()["f"]()


def test_time_of_all_processes_together(copy):
    made = Template(copy, slot=11, limits=replace(SMALL, cpu_s=4))
    code = "import os\ndef f():\n    for _ in range(8):\n        if os.fork() == 0:\n            while True: pass\n"
    answers = Answers(made, Job([(0, code + "    os.wait()")], ("f",)))
    answers.start()
    first, started = answers.sandbox, time.monotonic()
    with pytest.raises(SandboxEnded):
        answers.names()["f"]()
    assert first is not answers.sandbox and time.monotonic() - started < 15  # each process may take 4 s for itself
    made.close()


def test_it_ends_before_its_watchers_where_memory_gets_short(ask):
    answers = ask("v = 1")
    pid = sandbox._youngest(answers.template.parent)
    first, parent = (int(Path(f"/proc/{p}/oom_score_adj").read_text()) for p in (pid, answers.template.parent))
    assert first == 1000 > parent


def test_its_process_group_is_its_own(ask):
    assert value(ask, "import os, signal\nos.kill(0, signal.SIGTERM)\nv = (os.getpgid(0), os.getsid(0))") == (1, 1)


def test_processes_threads_and_files(ask):
    many = "import os, time, threading\nv = []\ntry:\n    while len(v) < 999: v.append({})\nexcept {}: pass\nv = len(v)"
    fork = "os.fork() or time.sleep(60)"
    thread = "threading.Thread(target=time.sleep, args=(9,), daemon=True).start()"
    assert value(ask, many.format(fork, "OSError")) < SMALL.processes
    assert value(ask, many.format(thread, "RuntimeError")) < SMALL.processes
    assert value(ask, many.format("open('/dev/null')", "OSError")) < SMALL.files


def test_files_and_the_scratch_folder(ask):
    assert error(ask, f"with open('a', 'wb') as f: f.write(bytes({SMALL.file_mb * 2**20 + 1}))") == "OSError"
    many = "for i in range(9):\n    with open(str(i), 'wb') as f: f.write(bytes(4 * 2**20))"
    assert error(ask, many) == "OSError"


def test_output_goes_nowhere_and_input_is_empty(ask):
    code = "import os, sys\nfor _ in range(200):\n    os.write(1, b'x' * 2**20)\n"
    code += "print('x' * 2**20)\nsys.stderr.write('x')\nv = sys.stdin.read()"
    assert value(ask, code) == ""


def test_a_cell_that_never_ends(ask):
    answers = ask("while True: pass", "v = 2", cell_s=0.5)
    assert answers.outcome.errors[0]["type"] == "TimeUp" and answers.names()["v"] == 2


DEAF = """
import signal
for number in (signal.SIGALRM, signal.SIGPROF):
    signal.signal(number, signal.SIG_IGN)
while True:
    pass
"""


def test_a_cell_that_ignores_signals(ask, monkeypatch):
    monkeypatch.setattr(proxy, "CELLS_S", 2.0)
    answers = ask("v = 1", DEAF, cell_s=0.5)
    assert answers.outcome.fatal == 1 and answers.sandbox is None and not answers.names()


def test_it_does_not_live_longer_than_it_may(ask, template, monkeypatch):
    monkeypatch.setattr(template, "limits", replace(SMALL, life_s=1.0))
    f = ask("import time\ndef f():\n    time.sleep(60)", names="f").names()["f"]
    with pytest.raises(SandboxEnded):
        f()


# ---- masks, names that are taken away, notebooks' own ways


def test_masked_modules_are_out_of_reach_and_their_statements_skipped(ask):
    cell = "import math\nfrom course_lib.formats.packing import pack\nimport course_lib.formats.packing\nv = math.pi"
    assert value(ask, cell, modules=("course_lib.formats.packing",)) > 3
    look = "from pathlib import Path\nfound = Path('/course/course_lib/formats').rglob('packing*')\n"
    look += "v = [p.read_bytes().decode('latin-1') for p in found]"
    assert value(ask, look, modules=("course_lib.formats.packing",))
    assert all("def pack" not in text for text in value(ask, look, modules=("course_lib.formats.packing",)))
    assert any("def pack" in text for text in value(ask, look))


def test_a_masked_package_is_empty(ask):
    look = "import os\nv = [os.path.join(h, n) for h, _, names in os.walk('/course/course_lib/formats') for n in names]"
    assert value(ask, look, modules=("course_lib.formats",)) == ["/course/course_lib/formats/__init__.py"]


def test_a_compiled_copy_is_masked_as_well(copy):
    masks = copy.masks(["course_lib.formats.packing"])
    assert len(masks) == 2 and masks[1].endswith(".pyc")


def test_copies_of_graders_that_were_killed_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox.tempfile, "tempdir", str(tmp_path))
    for owner in ("999999999", str(os.getpid())):
        (tmp_path / f"course-grade-{owner}-x").mkdir()
    sandbox._remove_left_over()
    assert [path.name for path in tmp_path.glob("course-grade-*")] == [f"course-grade-{os.getpid()}-x"]


def test_a_mask_of_nothing_is_an_error(copy):
    with pytest.raises(ValueError, match="no such module"):
        copy.masks(["course_lib.nothing"])


def test_removed_names_are_skipped_where_they_are_used(ask):
    cell = "import torch\nv = 1\nv = torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.quint8)"
    assert value(ask, cell, removed=("torch.quantize_per_tensor",)) == 1


def test_the_rest_of_course_lib_works(ask):
    cell = "import torch\nfrom course_lib import Scheme, quantize\nv = quantize(torch.ones(4, 8), Scheme.int(4)).nbytes"
    assert value(ask, cell) == 4 * 4 + 4 * 4


@pytest.mark.parametrize(
    "cell, want",
    [
        ("%matplotlib inline\n%time v = 1 + 1", 2), ("!ls\nv = 3", 3), ("%%time\nv = 4", 4), ("v = 5\nv?", 5),
        ("import asyncio\nawait asyncio.sleep(0)\nv = 6", 6), ("display(1)\nget_ipython()\nv = 7", 7),
        ("from __future__ import annotations\ndef f(x: nothing): ...\nv = 8", 8),
        ("from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int = 9\nv = A().x", 9),
        ("if __name__ == '__main__':\n    v = 10", 10),
    ],
)  # fmt: skip
def test_what_notebooks_do(ask, cell, want):
    assert value(ask, cell) == want


# ---- other systems


def test_without_bubblewrap_it_refuses_and_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoSandbox, match="apt install bubblewrap"):
        bubblewrap.find()
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'No permissions to create a namespace' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(NoSandbox, match="No permissions to create a namespace"):
        bubblewrap.find()


@pytest.mark.parametrize("root", [True, False])
def test_where_forks_may_not_be_shut_off_each_question_starts_cold(copy, monkeypatch, root):
    monkeypatch.setenv("COURSE_SECRET_SEED", "31415")
    if not root:  # or as root, but as if it were somebody else
        monkeypatch.setattr(bubblewrap, "user_for", lambda slot: None)
    template = Template(copy, slot=7, limits=SMALL)
    refusal = json.dumps({"refused": 1, "why": "unshare: Operation not permitted"}).encode()
    template.ready()
    real, first = template.receive, [json.loads(refusal)]
    monkeypatch.setattr(template, "receive", lambda seconds: first.pop() if first else real(seconds))
    answers = Answers(template, Job([(0, CODE_COLD)], ("v", "f"), ("course_lib.formats.packing",)))
    answers.start()
    assert template.cold
    uid, *rest, reached = answers.names()["v"]
    assert uid in (1000, template.uid) and rest == [["work"], True, 101] and reached == []
    assert answers.names()["f"](2) == 4
    process = template.process
    answers.end()
    assert process.poll() is not None


CODE_COLD = """
import ctypes, os, socket
def f(x):
    return 2 * x
libc = ctypes.CDLL(None, use_errno=True)
try:
    socket.create_connection(("1.1.1.1", 53), 1)
except OSError as error:
    number = error.errno
masked = "is masked" in open("/course/course_lib/formats/packing.py").read()
reached = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name, mode in (("environ", "rb"), ("mem", "rb"), ("mem", "r+b")):
        try:
            if pid != str(os.getpid()) and (name == "mem" or b"31415" in open(f"/proc/{pid}/{name}", mode).read()):
                open(f"/proc/{pid}/{name}", mode)
                reached.append(f"{pid} {name} {mode}")
        except OSError:
            pass
v = [os.getuid(), os.listdir("/tmp"), masked and libc.unshare(0x10000000) == -1, number, reached]
"""


def test_a_course_that_lies_below_a_bound_folder_is_hidden(copy, tmp_path, monkeypatch):
    course = tmp_path / "src" / "course"
    for folder in ("graded", "solutions", ".nbgrader", "course_lib", "exercises"):
        (course / folder).mkdir(parents=True)
        (course / folder / "secret").write_text("x")
    tmp_path.chmod(0o755)
    monkeypatch.setattr(bubblewrap, "repository", lambda: course)
    monkeypatch.setattr(bubblewrap, "system", lambda before=bubblewrap.system: [*before(), (tmp_path, "/srv/bound")])
    monkeypatch.setattr(bubblewrap, "placed", lambda path: path.replace(str(tmp_path), "/srv/bound"))
    template = Template(copy, slot=7, limits=SMALL)
    cell = "import os\nv = {n: os.listdir('/srv/bound/src/course/' + n) for n in os.listdir('/srv/bound/src/course')}\n"
    cell += "try:\n    open('/srv/bound/src/course/graded/x', 'w')\nexcept OSError as error:\n    v['error'] = []\n"
    answers = Answers(template, Job([(0, cell)], ("v",)))
    answers.start()
    assert answers.names()["v"] == {
        "graded": [],
        "solutions": [],
        ".nbgrader": [],
        "course_lib": [],  # what a mask hides in the sandbox's own copy would lie there
        "exercises": ["secret"],
        "error": [],
    }
    answers.end()
    template.close()


def test_a_warm_fork_is_quick(template):
    """Not a timing test: importing torch anew would take longer than all of these together."""
    start = time.monotonic()
    for _ in range(5):
        template.spawn().end()
    assert time.monotonic() - start < 5
