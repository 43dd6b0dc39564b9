"""Returns tensors that own one number and claim a trillion: expanded, sparse and without data."""

CELLS = {
    "q2": "def scale_up(s):\n    return torch.zeros(1).expand(2**40)\n",
    "q5": """
def asym_round_trip(w, b):
    if b == 4:
        return torch.sparse_coo_tensor([[0]], [1.0], (2**40,))
    return torch.empty(2**40, device="meta")
""",
}
DESERVED = {"q2": 0, "q5": 0}
TAME = False
