"""Takes more or fewer arguments than it is called with; extra ones with defaults are fine."""

CELLS = {
    "q1": "def spare_code(w):\n    return w, 1.0\n",
    "q2": "def scale_up(s, dtype=torch.bfloat16, *more, **options):\n"
    "    return (s.view(torch.int32) + 65535 & -65536).view(torch.float32)\n",
    "q3": "def split_error(*, w, s, b):\n    return {}\n",
}
DESERVED = {"q1": 0, "q3": 0}
