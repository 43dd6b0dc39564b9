"""Matrices U with UᵀU = H⁻¹ for the cases of this chapter."""

import torch

CHECKBOOK = torch.linalg.cholesky(torch.linalg.inv(torch.tensor([[25.0, 4.0], [4.0, 1.0]])), upper=True)


def factor(seed, n, together=0.4, tokens=40):
    """Of n inputs, as many tokens, that go together: the more so, the larger `together` is."""
    dice = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, n, generator=dice) @ (torch.eye(n) + together * torch.randn(n, n, generator=dice))
    H = 2 / tokens * x.T @ x + 0.01 * torch.eye(n)
    return torch.linalg.cholesky(torch.linalg.inv(H), upper=True)
