"""A few threads and a large product of matrices, which torch does in parallel."""

CELLS = {
    "q2": """
from concurrent.futures import ThreadPoolExecutor

big = torch.randn(600, 600) @ torch.randn(600, 600)


def up(x):
    return (x.view(torch.int32) + 65535 & -65536).view(torch.float32)


def scale_up(s):
    assert (big @ big).isfinite().all()
    with ThreadPoolExecutor(4) as pool:
        return torch.cat(list(pool.map(up, s.split(2))))
"""
}
