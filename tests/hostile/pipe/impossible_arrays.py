"""Replies in the grader's own protocol: empty arrays of 2^124 rows, integers that never end."""

SENDS = """
import os, struct

def array(tag, *shape):
    return tag + bytes([8, len(shape)]) + struct.pack(f"<{len(shape)}Q", *shape)

def text(said):
    return b"s" + struct.pack("<I", len(said)) + said

def send(*parts):
    body = b"t" + struct.pack("<I", len(parts)) + b"".join(parts)
    os.write(3, struct.pack("<4sQ", b"QW1\\n", len(body)) + body)

BIG = 2**31
"""
SENT = {
    "q1": ("spare_code(w, b)", "text(b'value'), b'i\\x01\\x01', array(b'A', BIG, BIG, BIG, 0), b'N'"),
    "q3": ("split_error(w, s, b)", "text(b'value'), b'i\\xff' + b'\\x7f' * 255, b'N'"),
    "q4": ("bits_needed(w, d)", "text(b'value'), array(b'a', 0, *[BIG] * 15), b'l\\xff\\xff\\xff\\xff'"),
    "q5": ("asym_round_trip(w, b)", "b't\\x01\\0\\0\\0' * 100_000 + b'N', b'N'"),
}
CELLS = {name: f"{SENDS}\ndef {head}:\n    send({parts})\n" for name, (head, parts) in SENT.items()}
CELLS["q2"] = f"{SENDS}\nsend(text(b'ready'), array(b'A', *[BIG] * 15, 0))\n\ndef scale_up(s):\n    return 0 * s\n"
DESERVED = dict.fromkeys(CELLS, 0)
TAME = False
