"""The kernels compiled ahead of time, for GPUs that are not here, and what their machine code says.

`builds` lists them as they are launched, `aot` compiles, `sass` reads and counts. `course bench sass` prints the table.
"""
