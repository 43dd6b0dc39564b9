"""Leaves a note for later questions wherever one can: files, shared memory, message queues, sockets, environment."""

NOTE = """
import glob, os, uuid

NOTES = ["/tmp/NOTE", "/dev/shm/NOTE", "NOTE", "/var/tmp/NOTE", "/run/NOTE", os.path.expanduser("~/NOTE")]
mine = str(uuid.uuid4())
for note in NOTES:
    try:
        with open(note, "a") as file:
            file.write(mine + "\\n")
    except OSError:
        pass
"""
FIRST = (NOTE,)
WON = '''
def won():
    """Whether another run of the same cells has left its own note: state that has passed on."""
    for note in NOTES:
        try:
            with open(note) as file:
                if len(set(file)) > 1:
                    return True
        except OSError:
            pass
    return False
'''
