"""Answers inside of `if __name__ == "__main__":`, and tests of its own with assert and unittest."""

from tests.hostile import bank

CELLS = {
    "q2": 'if __name__ == "__main__":\n'
    + "".join(f"    {line}\n" for line in bank.RIGHT["q2"].splitlines())
    + "\n    assert scale_up(torch.tensor([0.7])).item() == 0.703125\n"
}
LAST = (
    """
import unittest


class Mine(unittest.TestCase):
    def test_up(self):
        self.assertEqual(scale_up(torch.ones(1)).item(), 1.0)


unittest.main(argv=[""], exit=False)
""",
)
