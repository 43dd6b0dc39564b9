"""Each function ends the process in another way: status 0, SystemExit, SIGKILL, SIGSEGV, SIGSTOP."""

CELLS = {
    "q1": "import os\n\n\ndef spare_code(w, b):\n    os._exit(0)\n",
    "q2": "def scale_up(s):\n    raise SystemExit(0)\n",
    "q3": "import os\n\n\ndef split_error(w, s, b):\n    os.kill(os.getpid(), 9)\n",
    "q4": "import ctypes\n\n\ndef bits_needed(w, target_db):\n    ctypes.string_at(0)\n",
    "q5": "import os, signal\n\n\n"
    "def asym_round_trip(w, b):\n    os.kill(os.getpid(), signal.SIGSTOP)\n    return 0 * w\n",
}
DESERVED = dict.fromkeys(CELLS, 0)
TAME = False
