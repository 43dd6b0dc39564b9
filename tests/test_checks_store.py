"""The log survives kills, torn lines and two writers; progress moves between machines."""

import json
import subprocess
import sys
import time

import pytest

from course_lib.checks import history, pieces, progress, store

WRITER = """
import sys
from course_lib.checks import store
name, count = sys.argv[1], int(sys.argv[2])
for i in range(count):
    store.append("test", writer=name, number=i, padding="ä" * 300)
    print(i, flush=True)
"""


def writer(name, count):
    return subprocess.Popen([sys.executable, "-c", WRITER, name, str(count)], stdout=subprocess.PIPE, text=True)


def test_records_come_back_in_order():
    store.append("test", number=1)
    store.append("other", number=2)
    assert [r["number"] for r in store.records()] == [1, 2]
    assert [r["number"] for r in store.records("other")] == [2]


def test_two_processes_may_write_at_once():
    for process in [writer("a", 40), writer("b", 40)]:
        process.wait(60) if process.poll() is None else None
        process.stdout.close()
    both = store.records("test")
    for name in "ab":
        assert [r["number"] for r in both if r["writer"] == name] == list(range(40))
    assert b"\n\n" not in store.log_file().read_bytes()


def test_a_kill_during_saves_loses_nothing_that_was_said_to_be_saved():
    for moment in (0.0, 0.03, 0.11):
        process = writer(f"k{moment}", 10_000)
        process.stdout.readline()
        time.sleep(moment)
        process.kill()
        reported = 1 + len(process.stdout.read().split())
        process.wait()
        process.stdout.close()
        kept = [r["number"] for r in store.records("test") if r["writer"] == f"k{moment}"]
        assert kept == list(range(len(kept))) and reported <= len(kept) <= reported + 1
        store.append("test", writer="after", number=moment)  # the lock of the dead process holds up nobody
        assert store.records()[-1]["number"] == moment


@pytest.mark.parametrize("torn", ['{"id": "x", "at": "2026', "\x00\x00\x00", '{"id": 3}', "[]", "null", "é"[:1]])
def test_a_torn_last_line_is_skipped_and_never_swallows_the_next_record(torn):
    store.append("test", number=1)
    with open(store.log_file(), "ab") as file:
        file.write(torn.encode())
    store.append("test", number=2)
    assert [r["number"] for r in store.records()] == [1, 2]


def test_bytes_that_are_no_text_are_skipped():
    with open(store.log_file(), "wb") as file:
        file.write(b"\xff\xfe\n")
    store.append("test", number=2)
    assert [r["number"] for r in store.records()] == [2]


def test_a_folder_that_cannot_be_written_is_one_sentence(course_home, monkeypatch):
    blocked = course_home / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("COURSE_HOME", str(blocked))
    with pytest.raises(store.StoreError, match="your progress could not be saved"):
        store.append("test")


def attempt(state, name="ch01.round_trip"):
    store.append("attempt", exercise=name, state=state)


def test_a_standing_is_computed_from_the_log():
    assert history.standing("ch01.round_trip").state == "not attempted"
    attempt("fail")
    store.append("hint", exercise="ch01.round_trip", hint=1)
    assert history.standing("ch01.round_trip").state == "not yet"
    attempt("pass")
    store.append("solution", exercise="ch01.round_trip")
    standing = history.standing("ch01.round_trip")
    assert (standing.state, standing.attempts, standing.hints) == ("passed", 2, 1)


def test_a_solution_read_before_the_first_pass_is_remembered():
    store.append("solution", exercise="ch01.round_trip")
    assert history.standing("ch01.round_trip").state == "solution seen"
    attempt("pass")
    assert history.standing("ch01.round_trip").state == "passed, solution seen"


def test_progress_moves_to_another_home_and_importing_twice_adds_nothing(course_home, tmp_path, monkeypatch, capsys):
    attempt("pass")
    pieces.folder().mkdir()
    (pieces.folder() / "ch01.round_trip.py").write_text("def round_trip(w, s, b):\n    return w\n")
    store.append("piece", exercise="ch01.round_trip", piece="round_trip")
    assert progress.main(["--export", str(tmp_path / "moved.json")]) == 0
    monkeypatch.setenv("COURSE_HOME", str(tmp_path / "new home"))
    assert progress.main(["--import", str(tmp_path / "moved.json")]) == 0
    assert progress.main(["--import", str(tmp_path / "moved.json")]) == 0
    assert [r["event"] for r in store.records()] == ["attempt", "piece"]
    assert (pieces.folder() / "ch01.round_trip.py").read_text().startswith("def round_trip")
    said = capsys.readouterr().out
    assert "2 new records and 1 new pieces" in said and "0 new records and 0 new pieces" in said


def test_an_import_overwrites_no_newer_piece_and_no_other_file(course_home, tmp_path):
    exported = {"format": progress.FORMAT, "records": [], "pieces": {"../evil": "1", "ch01.round_trip": "old = 1"}}
    (tmp_path / "file.json").write_text(json.dumps(exported))
    pieces.folder().mkdir()
    (pieces.folder() / "ch01.round_trip.py").write_text("new = 1")
    assert progress.import_from(tmp_path / "file.json") == (0, 0)
    assert (pieces.folder() / "ch01.round_trip.py").read_text() == "new = 1"
    assert [p.name for p in pieces.folder().iterdir()] == ["ch01.round_trip.py"]
    assert not (course_home / "evil.py").exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "course-progress-1", "records": 3, "pieces": {}}'])
def test_a_file_that_is_no_export_is_one_sentence(tmp_path, capsys, content):
    (tmp_path / "file.json").write_text(content)
    assert progress.main(["--import", str(tmp_path / "file.json")]) == 1
    said = capsys.readouterr().out
    assert said.startswith("course progress: ") and said.count("\n") == 1


def test_the_table_shows_every_exercise_and_its_state(capsys):
    attempt("pass")
    attempt("fail", "ch00.rounding")
    assert progress.main([]) == 0
    said = capsys.readouterr().out
    assert "1 of " in said and " exercises passed." in said
    lines = {line.split()[0]: line for line in said.splitlines() if line}
    assert "✓ round_trip" in lines["ch01"] and "· scale" in lines["ch01"] and "✗ rounding" in lines["ch00"]
    assert "✓ passed" in said and "✗ not yet" in said and "· not attempted" in said and "solution seen" not in said
    shown = progress.Progress().html()
    assert 'scope="col"' in shown and "✓ round_trip" in shown
