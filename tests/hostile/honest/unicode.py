"""Greek names, umlauts, emoji, other scripts and mathematical letters, in code, text and output."""

CELLS = {
    "q2": '''
def scale_up(s):
    """Größer als s, nie kleiner 🙂 — 不小于 s."""
    𝛿, größe = 0xFFFF, s.view(torch.int32)
    print("größe →", größe.shape, "✓")
    return (größe + 𝛿 & ~𝛿).view(torch.float32)
''',
    "explain": "Mit 3 Bits ist die Hälfte am besten 🙂 — ½·max; ‖w − ŵ‖² wächst.",
}
