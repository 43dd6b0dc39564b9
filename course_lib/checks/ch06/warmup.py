"""Warm-up questions about chapter 06: what an error costs, who pays, in which order, damping, too few tokens."""

from course_lib.checks.warmups import Question


def cost_of_one_error(rng):
    h, error = rng.choice([4, 9, 25, 100]), rng.choice([0.1, 0.2, 0.3])
    text = f"A weight has curvature {h} and is rounded by {error}; all others are exact. What is the cost, d H d?"
    return Question(text, h * error**2, f"{h} · {error}² = {h * error**2:.4g}.", atol=0.001)


def where_the_other_moves(rng):
    h12, h22, error = rng.choice([2, 3, 6]), rng.choice([1, 2, 4]), rng.choice([0.2, 0.4, -0.2])
    text = (
        f"H₁₂ = {h12}, H₂₂ = {h22}. Rounding w₁ lost {error} (w₁ − ŵ₁). By how much should w₂ move to make up for it? "
        "(GPTQ, before w₂ is rounded)"
    )
    return Question(text, error * h12 / h22, f"By d₁ · H₁₂ / H₂₂ = {error} · {h12} / {h22}.", atol=0.005)


def hessian_entry(rng):
    a, b, c, d = (rng.choice([-2, -1, 1, 2, 3]) for _ in range(4))
    text = f"Two tokens have the inputs ({a}, {b}) and ({c}, {d}). With H = 2/n · xᵀx, what is H₁₂?"
    return Question(text, a * b + c * d, f"2/2 · ({a} · {b} + {c} · {d}) = {a * b + c * d}.")


def bytes_of_g_idx(rng):
    cols, matrices = rng.choice([256, 4096, 11008]), rng.choice([1, 4, 7])
    who = "1 matrix" if matrices == 1 else f"{matrices} matrices"
    text = f"{who} of {cols} columns: g_idx takes 4 bytes a column. How many bytes is that?"
    return Question(text, 4 * cols * matrices, f"4 · {cols} · {matrices}.", "bytes")


def damping(rng):
    mean, percdamp = rng.choice([2.0, 5.0, 8.0]), rng.choice([0.01, 0.05, 0.1])
    text = f"H's diagonal is {mean} on average, percdamp is {percdamp}. What is added to every entry of the diagonal?"
    return Question(text, mean * percdamp, f"{percdamp} · {mean}.", atol=0.0005)


def rank_of_few_tokens(rng):
    tokens, cols = rng.choice([100, 200, 300]), rng.choice([512, 1024])
    text = f"{tokens} tokens, {cols} inputs: how many independent directions can H see at most?"
    return Question(text, tokens, f"Each token adds one direction: {tokens} of {cols}. The others look free of charge.")


QUESTIONS = (cost_of_one_error, where_the_other_moves, hessian_entry, bytes_of_g_idx, damping, rank_of_few_tokens)
