"""Tabs, semicolons, backslashes, trailing blanks, no last line end, lines as a list, everything on one line."""

CELLS = {
    "q1": "def spare_code(w,b):\n\tt=1<<b-1;m=max(w.tolist(),key=abs)  \n\ts=-m/t if m else 1.\n"
    "\treturn (w/s).round() \\\n\t\t.clamp(-t,t-1).to(torch.int8),s",
    "q2": "def scale_up(s): return (s.view(torch.int32)+65535&-65536).view(torch.float32);",
}


def damage(notebook):
    for cell in notebook["cells"]:
        text = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
        cell["source"] = text.splitlines(keepends=True)
    return notebook
