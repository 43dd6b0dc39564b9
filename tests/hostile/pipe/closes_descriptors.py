"""Closes every descriptor, or turns them all into /dev/null, and goes on."""

CELLS = {
    "q2": "import os\n\n\ndef scale_up(s):\n    os.closerange(0, 65536)\n    return 0 * s\n",
    "q3": """
import os


def split_error(w, s, b):
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(256):
        if number != null:
            os.dup2(null, number)
    return {"rounding": 0.0, "clipping": 0.0, "sqnr_db": 0.0}
""",
}
DESERVED = {"q2": 0, "q3": 0}
TAME = False
