"""A first version that was wrong, and a second one below it in the same cell."""

CELLS = {
    "q2": """
def scale_up(s):
    return s.bfloat16().float()  # too small half of the time


first_try = scale_up(torch.tensor([0.7]))


def scale_up(s):
    near = scale_up.first(s)
    return torch.where(near < s, (near.view(torch.int32) + 65536).view(torch.float32), near)


scale_up.first = lambda s: s.to(torch.bfloat16).to(torch.float32)
del first_try
"""
}
