"""Deployment: limits, hysteresis, the canary's rule, the router over toys that fail, hang and die, real runtimes.

Most tests put small HTTP servers in the place of runtimes; three start llama.cpp and transformers for real.
"""

import http.server
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import models
from course_lib.deploy import (
    BadRequest,
    Canary,
    CanaryPolicy,
    Hysteresis,
    Limits,
    NotServing,
    PortTaken,
    Server,
    capstone,
    command,
    in_share,
)
from course_lib.deploy.limits import read_request
from course_lib.deploy.service import Service, post, read_action
from course_lib.deploy.traffic import Backend, Traffic
from course_lib.deploy.web import Router
from course_lib.evaluate.gate import Gate, Report, judge
from course_lib.evaluate.paired import Paired

YES = judge(Report("any", {"accuracy": 1.0}), Gate(task={"accuracy_min": 0.5}))
NO = judge(Report("any", {"accuracy": 0.4}), Gate(task={"accuracy_min": 0.5}))
FAST = CanaryPolicy(share=1.0, pairs=6, margin=0.5, errors=2)


# ---- requests


@pytest.mark.parametrize(
    "body, said",
    [
        (b"{", "must be JSON"),
        (b"\xff", "must be JSON"),
        (b"[" * 100_000, "must be JSON"),
        (b"[]", "got a list"),
        (b"{}", "prompt must be a string"),
        (b'{"prompt": ""}', "got 0 characters"),
        (b'{"prompt": "aaaaaaaaaaaa"}', "got 12 characters"),
        (b'{"prompt": "\\ud800"}', "surrogate"),
        (b'{"prompt": "a", "max_tokens": 0}', "from 1 to 8, got 0"),
        (b'{"prompt": "a", "max_tokens": true}', "from 1 to 8, got True"),
        (b'{"prompt": "a", "max_tokens": 9}', "from 1 to 8, got 9"),
        (b'{"prompt": "a", "temperature": 0.7}', "temperature must be 0"),
        (b'{"prompt": "a", "stream": true}', "stream must be false"),
        (b'{"prompt": "a", "n": 2}', "n must be 1"),
        (b'{"prompt": "a", "best_of": 2}', "'best_of' is not supported"),
        (b'{"prompt": "a", "stop": ["", "b"]}', "stop must be"),
        (b'{"prompt": "a", "stop": ""}', "stop must be"),
        (b'{"prompt": "a", "stop": false}', "stop must be"),
        (b'{"prompt": "a", "stop": "\\udc00"}', "stop holds half of a surrogate"),
        (b'{"prompt": "a", "stream": 0}', "stream must be false"),
        (b'{"prompt": "a", "n": true}', "n must be 1"),
        (b'{"prompt": "a", "model": 7}', "model must be a string"),
        (b'{"prompt": "a", "max_tokens": ' + b"9" * 5000 + b"}", "thousands of digits"),
        (b'{"prompt": "a", "user": 7}', "user must be a string"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(body, said):
    with pytest.raises(BadRequest, match=said.replace("(", r"\(")):
        read_request(body, Limits(prompt_chars=10, max_tokens=8))


TEXTS = st.text(max_size=50) | st.sampled_from(["", "a" * 41, "a" * 4001, "\ud800"])
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
SHAPES = st.recursive(PLAIN, lambda inside: st.lists(inside, max_size=6) | st.dictionaries(TEXTS, inside, max_size=3))
NUMBERS = st.sampled_from(["9" * 30, "9" * 5000, "-" + "9" * 5000, "1e999", "-1e999", "1e-999", "256.0", "0.0", "-0"])
NEARLY = {
    "prompt": TEXTS, "max_tokens": st.integers(-1, 257), "stop": TEXTS | st.lists(TEXTS, max_size=5),
    "temperature": st.sampled_from([0, 0.0, False, 1]), "stream": st.sampled_from([False, 0, True, ""]),
    "n": st.sampled_from([1, 1.0, True, 2]), "model": TEXTS, "user": TEXTS, "echo": st.booleans(),
}  # fmt: skip


@st.composite
def requests(draw):
    """A JSON object whose fields are right, nearly right, of another shape, or numbers that no machine holds."""
    asked = {"prompt": json.dumps("Hello")} if draw(st.booleans()) else {}
    for name in draw(st.lists(st.sampled_from(sorted(NEARLY)), max_size=4)):
        asked[name] = draw(
            NEARLY[name].map(json.dumps) | NEARLY[name].map(json.dumps) | SHAPES.map(json.dumps) | NUMBERS
        )
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in asked.items()) + "}"


BODIES = st.binary(max_size=60) | (st.text(max_size=60) | SHAPES.map(json.dumps)).map(str.encode)


@settings(max_examples=200)
@given(BODIES | requests().map(str.encode))
def test_no_body_does_more_than_be_refused(body):
    """Or it gives what every runtime takes; where a field is refused, the sentence is short and can be sent."""
    limits = Limits()
    try:
        read = read_request(body, limits)
    except BadRequest as error:
        said = str(error)
        assert said.isprintable() and len(said.encode()) < 250
        return
    asked = json.loads(body)
    assert list(read) == ["prompt", "max_tokens", "stop", "user"]
    assert read["prompt"] == asked["prompt"] and 0 < len(read["prompt"]) <= limits.prompt_chars
    assert read["max_tokens"] is not True and read["max_tokens"] in range(1, limits.max_tokens + 1)
    assert isinstance(read["stop"], list) and len(read["stop"]) <= 4 and all(0 < len(s) <= 40 for s in read["stop"])
    assert bool(read["stop"]) == (asked.get("stop") not in (None, []))
    assert [type(asked.get(name, kind())) for name, kind in (("n", int), ("stream", bool))] == [int, bool]
    assert type(asked.get("temperature", 0)) in (int, float) and isinstance(asked.get("model", ""), str)
    json.dumps(read, ensure_ascii=False).encode()


# ---- health, share, canary


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 4), st.integers(1, 4))
def test_the_opinion_changes_after_a_full_run_and_never_before(checks, up, down):
    health, history = Hysteresis(up, down), [True]
    for k, ok in enumerate(checks):
        history.append(health.seen(ok))
        if history[-1] != history[-2]:
            run = up if history[-1] else down
            assert checks[k + 1 - run : k + 1] == [history[-1]] * run
    if len(checks) >= max(up, down) and len(set(checks[-max(up, down) :])) == 1:
        assert history[-1] == checks[-1]


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_keeps_the_smaller_s_users(user, a, b):
    assert in_share(user, max(a, b)) or not in_share(user, min(a, b))


def test_the_share_is_the_share_and_the_same_in_every_process():
    inside = sum(in_share(f"customer {k}", 0.2) for k in range(20_000))
    assert abs(inside / 20_000 - 0.2) < 0.01
    code = "from course_lib.deploy import in_share; print([in_share(str(k), 0.5) for k in range(40)])"
    told = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(2)}
    assert told == {f"{[in_share(str(k), 0.5) for k in range(40)]}\n"}


@pytest.mark.parametrize(
    "broken", [{"share": 0}, {"share": 1.1}, {"margin": 0}, {"differ": 2}, {"pairs": 29}, {"errors": 0}, {"slower": 0}]
)
def test_a_policy_that_cannot_decide_is_refused(broken):
    with pytest.raises(ValueError):
        CanaryPolicy(**broken)


def test_pairs_decide_only_when_all_are_there():
    canary = Canary(CanaryPolicy(pairs=30))
    for _ in range(29):
        canary.compared(True, True, (1.0, 1.0))
        assert canary.state == "running"
    canary.compared(True, True, (1.0, 1.0))
    assert canary.state == "promoted" and "30 pairs, 0 lost" in canary.reason
    canary.failed("too late")
    assert canary.state == "promoted"


def test_losses_end_it_as_soon_as_the_rest_cannot_help():
    policy = CanaryPolicy(pairs=60)
    assert Paired(60, policy.may_lose, 0).not_worse_by(0.1) and not Paired(60, policy.may_lose + 1, 0).not_worse_by(0.1)
    canary = Canary(policy)
    for k in range(policy.may_lose + 1):
        assert canary.state == "running", k
        canary.compared(False, True, (1.0, 1.0))
    assert canary.state == "rolled back" and "lost" in canary.reason


def test_well_formed_replies_that_say_something_else_end_it_too():
    canary = Canary(CanaryPolicy(pairs=30, differ=0.2))
    for _ in range(6):
        canary.compared(True, True, (1.0, 1.0), same=False)
    assert canary.state == "running"
    canary.compared(True, True, (1.0, 1.0), same=False)
    assert canary.state == "rolled back" and "7 replies say something else in 7 pairs" in canary.reason


def test_slow_or_silent_candidates_go_back():
    slow, silent = Canary(CanaryPolicy(pairs=30)), Canary(CanaryPolicy(errors=2))
    for _ in range(30):
        slow.compared(True, True, (3.1, 1.0))
    assert slow.state == "rolled back" and "times as slow" in slow.reason
    silent.failed("reset")
    assert silent.state == "running"
    silent.failed("reset")
    assert silent.state == "rolled back" and "reset" in silent.reason


# ---- the router, over toys


class Toy:
    """A runtime of a few lines: `does` is what it does with a completion: a text, a status, "hang" or "cut"."""

    def __init__(self, name, does="fine"):
        self.name, self.does, self.asked = name, does, []
        toy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                self.tell(200, {"status": "ok"})

            def do_POST(self):
                toy.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                if toy.does == "hang":
                    time.sleep(3)
                if toy.does in ("hang", "cut"):
                    self.connection.shutdown(socket.SHUT_RDWR)
                elif isinstance(toy.does, int):
                    self.tell(toy.does, {"error": {"message": f"status {toy.does}"}})
                else:
                    self.tell(200, {"choices": [{"text": toy.does}]} if toy.does else {"what": 1})

            def tell(self, status, data):
                body = json.dumps(data).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def die(self):
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def routed():
    """routed(candidate=…, incumbent=…) → (router, traffic, toys, lines of the log)."""
    closing = []

    def build(limits=None, **does):
        said = []
        traffic = Traffic(
            limits or Limits(timeout_s=1), lambda text: text if text.startswith("fine") else None, said.append
        )
        toys = {role: Toy(role, what) for role, what in does.items()}
        traffic.backends = {role: Backend(role, toy, Hysteresis()) for role, toy in toys.items()}
        router = Router(traffic)
        closing.extend([router.stop, *(toy.die for toy in toys.values())])
        return router, traffic, toys, said

    yield build
    for close in closing:
        close()


def ask(router, user="u", **more):
    return post(f"{router.url}/v1/completions", json.dumps({"prompt": "p", "user": user} | more).encode(), 20)


def start(router, traffic, policy=FAST):
    router.call(lambda: setattr(traffic, "canary", Canary(policy)))


@pytest.mark.parametrize("failure", ["cut", "hang", 500, 503, ""])
def test_what_the_candidate_leaves_the_incumbent_answers(routed, failure):
    router, traffic, _, said = routed(candidate=failure, incumbent="fine")
    start(router, traffic)
    answers = [ask(router) for _ in range(3)]
    assert [status for status, _ in answers] == [200] * 3
    assert {body["served_by"]["role"] for _, body in answers} == {"incumbent"}
    assert traffic.canary.state == "rolled back" and traffic.canary.errors == 2
    assert traffic.counts["rescued"] == 2 and traffic.inside == 0
    assert sum("gave no answer" in line for line in said) == 2


def test_a_candidate_that_dies_in_mid_canary_loses_nobody(routed):
    router, traffic, toys, _ = routed(candidate="fine", incumbent="fine")
    start(router, traffic, CanaryPolicy(share=1.0, pairs=100))
    answers, sending = [], threading.Event()

    def customer():
        for k in range(30):
            answers.append(ask(router)[0])
            if k == 5:
                sending.set()

    customers = [threading.Thread(target=customer) for _ in range(4)]
    for one in customers:
        one.start()
    sending.wait()
    toys["candidate"].die()
    for one in customers:
        one.join()
    router.call(traffic.settle)
    assert answers == [200] * 120 and traffic.canary.state == "rolled back"
    assert traffic.counts["received"] == traffic.counts["answered"] == 120 and traffic.inside == 0


def test_nobody_left_is_an_explicit_error(routed):
    router, traffic, _, _ = routed(incumbent="cut", fallback=500)
    status, body = ask(router)
    assert status == 503 and "incumbent:" in body["error"]["message"] and "fallback:" in body["error"]["message"]
    assert traffic.counts["failed"] == 1 and traffic.inside == 0


def test_a_request_that_the_runtime_refuses_is_no_failure_of_the_candidate(routed):
    router, traffic, toys, _ = routed(candidate=400, incumbent="fine")
    start(router, traffic)
    assert ask(router) == (400, {"error": {"code": 400, "message": "status 400", "type": "invalid_request_error"}})
    assert traffic.canary.state == "running" and traffic.counts["refused"] == 1 and not toys["incumbent"].asked


def test_pairs_are_compared_and_the_better_reply_of_the_incumbent_counts(routed):
    router, traffic, toys, _ = routed(candidate="spoiled", incumbent="fine")
    start(router, traffic)
    while traffic.canary.state == "running":
        ask(router)
        router.call(traffic.settle)
    assert traffic.canary.state == "rolled back" and traffic.canary.lost == traffic.canary.policy.may_lose + 1
    assert toys["candidate"].asked[0] == toys["incumbent"].asked[0]


def test_replies_are_compared_by_what_they_say(routed):
    router, traffic, _, _ = routed(candidate="fine, but another refund", incumbent="fine")
    start(router, traffic, CanaryPolicy(share=1.0, pairs=6, margin=0.5, differ=0.5))
    while traffic.canary.state == "running":
        ask(router)
        router.call(traffic.settle)
    assert traffic.canary.state == "rolled back" and (traffic.canary.lost, traffic.canary.differed) == (0, 4)


def test_only_the_share_sees_the_candidate(routed):
    router, traffic, _, _ = routed(candidate="fine", incumbent="fine")
    start(router, traffic, CanaryPolicy(share=0.5, pairs=100))
    for k in range(20):
        role = ask(router, f"user {k}")[1]["served_by"]["role"]
        assert role == ("candidate" if in_share(f"user {k}", 0.5) else "incumbent")


def test_one_too_many_is_told_so(routed):
    router, traffic, _, _ = routed(Limits(timeout_s=10, at_once=2), incumbent="hang", fallback="fine")
    told = []
    crowd = [threading.Thread(target=lambda: told.append(ask(router)[0])) for _ in range(6)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert sorted(told) == [200, 200, 429, 429, 429, 429] and traffic.counts["refused"] == 4


def test_addresses_sizes_and_counts(routed):
    router, traffic, _, _ = routed(Limits(body_bytes=100), incumbent="fine")
    address = f"{router.url}/v1/completions"
    assert post(address, b"{")[0] == 400 and post(address, b"x" * 101)[0] == 413
    assert post(f"{router.url}/elsewhere", b"{}")[0] == 404 and ask(router)[0] == 200
    assert json.load(urllib.request.urlopen(f"{router.url}/health"))["status"] == "ok"
    metrics = urllib.request.urlopen(f"{router.url}/metrics").read().decode()
    assert "course_requests_refused_total 2\n" in metrics and "course_requests_inside 0\n" in metrics
    assert traffic.counts["received"] == 3


def test_health_lags_and_says_what_it_thinks(routed):
    router, traffic, toys, said = routed(incumbent="fine")
    toys["incumbent"].die()
    backend = traffic.backends["incumbent"]
    for _ in range(3):
        router.call(lambda: traffic.check(backend))
    assert not backend.health.well and said[-1] == "incumbent incumbent counts as down"
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(f"{router.url}/health")


def test_a_taken_port_is_one_sentence(routed):
    router, *_ = routed(incumbent="fine")
    for taken in (lambda: Router(None, router.port), lambda: Server("bundled", router.port)):
        with pytest.raises(PortTaken, match=rf"^port {router.port} on 127.0.0.1 cannot be used .*; take another port"):
            taken()
    with pytest.raises(ValueError, match="port must be"):
        Router(None, 70_000)


# ---- the real runtimes


@pytest.fixture(scope="module")
def bot(tmp_path_factory):
    """Two GGUF files of the bundled model, and one that is no GGUF file."""
    from course_lib.artifacts.gguf import llama

    pytest.importorskip("xllamacpp")
    folder, (model, tokenizer) = tmp_path_factory.mktemp("bot"), models.load("bundled")
    for mix in ("F16", "Q8_0"):
        llama.export(model, tokenizer, folder / f"bot-{mix}.gguf", mix)
    (folder / "torn.gguf").write_bytes((folder / "bot-F16.gguf").read_bytes()[:5000])
    return SimpleNamespace(folder=folder, examples=models.task.generate(12, 5), model=model, tokenizer=tokenizer)


def test_two_runtimes_give_the_replies_of_the_library(bot):
    from course_lib.evaluate import generate

    want = [generate(bot.model, bot.tokenizer, e.prompt) for e in bot.examples[:2]]
    ends = []
    for artifact in (bot.folder / "bot-F16.gguf", "bundled"):
        with Server(artifact) as server:
            body = [
                json.dumps({"prompt": e.prompt, "max_tokens": 256, "stop": ["\n"], "temperature": 0})
                for e in bot.examples
            ]
            told = [post(f"{server.url}/v1/completions", b.encode()) for b in body[:2]]
            assert [reply["choices"][0]["text"] for _, reply in told] == want
            short = json.loads(body[0]) | {"max_tokens": 7}
            told += [post(f"{server.url}/v1/completions", json.dumps(short).encode())]
            ends.append([(r["choices"][0]["finish_reason"], r["usage"]["completion_tokens"]) for _, r in told])
            assert json.load(urllib.request.urlopen(f"{server.url}/health")) == {"status": "ok"}
            assert "tokens_predicted_total" in urllib.request.urlopen(f"{server.url}/metrics").read().decode()
            assert post(f"{server.url}/v1/completions", b"{}")[0] == 400
        assert not server.alive
    assert ends[0] == ends[1] and ends[0][-1] == ("length", 7) and ends[0][0][0] == "stop"


def test_a_runtime_that_does_not_come_up_says_why(bot):
    with pytest.raises(NotServing, match="llama.cpp does not serve torn.gguf: it ended with status 1"):
        Server(bot.folder / "torn.gguf")
    with pytest.raises(FileNotFoundError, match="there is no"):
        Server(bot.folder / "none.gguf")


def test_refused_died_promoted_and_taken_back(bot):
    lines, policy = [], CanaryPolicy(share=1.0, pairs=6, margin=0.5)
    with Service(bot.folder / "bot-F16.gguf", say=lines.append) as service:
        assert not service.start_canary(bot.folder / "bot-Q8_0.gguf", NO) and service.state == "stable"
        assert "the gate refused any; the incumbent stays" in lines[-2] and "task: share of right" in lines[-1]
        service.start_canary(bot.folder / "bot-Q8_0.gguf", YES, policy)
        with pytest.raises(ValueError, match="running already"):
            service.start_canary(bot.folder / "bot-Q8_0.gguf", YES, policy)
        service.server("candidate").kill()
        assert [status for status, _ in capstone.talk(service, bot.examples[:3])] == [200] * 3
        assert service.state == "rolled back"
        service.start_canary(bot.folder / "bot-Q8_0.gguf", YES, policy)
        answers = capstone.talk(service, bot.examples, 2)
        assert service.state == "promoted" and service.server("incumbent").name == "bot-Q8_0.gguf"
        assert all(status == 200 and read_action(body["choices"][0]["text"]) for status, body in answers)
        service.rollback("regretted")
        assert service.server("incumbent").name == "bot-F16.gguf" and service.ask("Request: x\nAction:")[0] == 200
        record = service.record()
        assert record["roles"]["incumbent"]["sha256"] and record["canary"]["reason"] == "regretted"
        servers = [b.server for b in service.traffic.backends.values()] + [service.previous]
    assert not any(server.alive for server in servers)
    assert record["counts"]["received"] == record["counts"]["answered"] == 16


# ---- the commands


def test_deploy_says_one_sentence_about_bad_input(bot, capsys, tmp_path):
    f16 = str(bot.folder / "bot-F16.gguf")
    (tmp_path / "v.json").write_text('{"verdicts": []}')
    for arguments, said in (
        (["none.gguf"], "there is no none.gguf"),
        ([f16, "--candidate", f16], "needs --verdicts"),
        ([f16, "--candidate", f16, "--verdicts", str(tmp_path / "v.json")], "says nothing about bot-F16.gguf"),
        ([f16, "--pairs", "3"], "pairs must be at least"),
        ([f16, "--port", "99999"], "port must be"),
    ):
        assert command.main(arguments) == 1
        assert said in (told := capsys.readouterr().err) and told.count("\n") == 1, told


def test_deploy_serves_and_stops_cleanly(bot, tmp_path):
    record = tmp_path / "record.json"
    command = [sys.executable, "-m", "course_lib", "deploy", str(bot.folder / "bot-F16.gguf"), "--port", "0"]
    process = subprocess.Popen([*command, "--record", str(record)], stdout=subprocess.PIPE, text=True)
    lines = iter(process.stdout.readline, "")
    url = next(line for line in lines if "listening on" in line).split()[-1]
    assert (
        post(f"{url}/v1/completions", json.dumps({"prompt": bot.examples[0].prompt, "stop": "\n"}).encode())[0] == 200
    )
    process.terminate()
    assert process.wait(30) == 0 and json.loads(record.read_text())["counts"]["answered"] == 1
