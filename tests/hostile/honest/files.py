"""Writes a table into a file of its own and reads it back, in the working folder and in a temporary one."""

FIRST = (
    """
import json, os, tempfile

with open("table.json", "w") as file:
    json.dump({"mask": 65535}, file)
os.makedirs("data/more", exist_ok=True)
with tempfile.TemporaryDirectory() as folder:
    torch.save(torch.ones(3), os.path.join(folder, "x.pt"))
    ONES = torch.load(os.path.join(folder, "x.pt"))
""",
)
CELLS = {
    "q2": """
def scale_up(s):
    with open("table.json") as file:
        mask = json.load(file)["mask"]
    return (s.view(torch.int32) + mask & ~mask).view(torch.float32) * ONES[0]
"""
}
