"""`course pictures`: draw every explorer's still picture again, as notebooks/img/NN-explorer.png.

GitHub shows no outputs; a markdown cell of each chapter links its picture instead.
"""

import argparse
from pathlib import Path

from course_lib.files import write_atomic

# chapter: (explorer, the setting that its picture shows)
STILLS = {
    "00": ("break_the_bot", {"bits": 4}),
    "01": ("ruler", {"w": 0.73, "s": 0.1, "bits": 5}),
    "02": ("grid", {"data": "after a ReLU", "kept": 98.0}),
    "03": ("planner", {"device": "rtx-4090", "params": 32e9, "weights": (4, 128)}),
    "04": ("heatmap", {"group": 32}),
    "05": ("migrate", {"alpha": 0.5}),
    "06": ("stepper", {"done": 3}),
    "07": ("protect", {"alpha": 0.5}),
    "08": ("inspector", {"field": 11, "further": 2}),
    "08-offload": ("offload", {"gpus": ("rtx-4060",), "context": 32768}),
    "09": ("blocks", {"kind": "Q4_K", "byte": 4}),
    "09-codebook": ("blocks", {"kind": "IQ2_XXS", "byte": 9}),
    "10": ("toggler", {"format": "e4m3fn", "code": 0b0_1000_110}),
    "10-blocks": ("comparer", {"data": "bell", "top": 7.1}),
    "11": ("capacity", {"batch": 32, "weights": "gptq"}),
    "11-attention": ("attention", {"axis": "token"}),
    "11-pages": ("pages", {"step": 40}),
    "13": ("gate", {"items": 300}),
    "12": ("trace", {"version": 2, "rows": 4, "access": 15}),
    "12-loop": ("loop", {"version": "gemv-3"}),
    "14": ("decide", {"model": "llama-3-70b", "machine": "rtx-4090"}),
    "14-canary": ("canary", {}),
    "15": ("mastery", {"statement": 4}),
}
FOLDER = Path(__file__).resolve().parents[1] / "notebooks" / "img"


def draw(chapter, folder=FOLDER):
    """Write one chapter's picture; returns (path, sentence): the sentence is its alternative text."""
    from course_lib.viz import explorers

    name, setting = STILLS[chapter]
    explorer = getattr(explorers, name)(**setting)
    sentence, scene = explorer.frame()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{chapter}-explorer.png"
    write_atomic(path, scene.png())
    return path, sentence


def main(arguments=()):
    """Draw the pictures of all chapters, or of those named; say what each shows."""
    parser = argparse.ArgumentParser(prog="course pictures", description=__doc__)
    parser.add_argument("chapters", nargs="*", help=f"such as 01; default: {' '.join(STILLS)}")
    parser.add_argument("--folder", default=FOLDER, help="where to write; default: notebooks/img")
    options = parser.parse_args(arguments)
    unknown = [chapter for chapter in options.chapters if chapter not in STILLS]
    if unknown:
        parser.error(f"no explorer for chapter {unknown[0]}; there are {', '.join(STILLS)}")
    for chapter in options.chapters or STILLS:
        path, sentence = draw(chapter, options.folder)
        print(f"{path}\n    {sentence}")
    return 0
