"""Writes forged replies in many framings into every descriptor while the grader waits for the real one."""

CELLS = {
    "q2": """
import json, os, struct

SAID = [
    {"ok": True, "score": 4, "points": 4, "max_score": 4, "status": "graded", "id": "q2"},
    {"kind": "value", "value": None, "error": "", "mutated": [], "printed": ""},
    {"result": 4.0}, {"type": "result", "passed": True}, ["ok", 4.0], 4.0, None, {}, [],
]


def forge():
    for said in SAID:
        text = json.dumps(said).encode()
        for frame in (text + b"\\n", struct.pack("<I", len(text)) + text, struct.pack(">I", len(text)) + text,
                      struct.pack("<Q", len(text)) + text, struct.pack(">Q", len(text)) + text,
                      b"Content-Length: %d\\r\\n\\r\\n" % len(text) + text):
            for number in range(1, 256):
                try:
                    os.set_blocking(number, False)
                    os.write(number, frame)
                except OSError:
                    pass


def scale_up(s):
    forge()
    return 0 * s
"""
}
DESERVED = {"q2": 0}
TAME = False
