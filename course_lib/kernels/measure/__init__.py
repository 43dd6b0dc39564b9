"""What the kernels take on a GPU that is here: `course bench kernels`, `course bench decode`; and what was recorded.

`families` knows every product and its right answer; `contest` checks them, then `clock` times them beside `rivals`.
`tune` is all that kernels take from here: the quickest of a few launches. `measured` and `recorded` read the records.
"""
