"""Family `pipe` on CPython's multiprocessing.Pipe. The argument is `send` (values) or `bytes`. The process is forked."""
import multiprocessing
import sys

# The sources' folder is to stay as it is.
sys.dont_write_bytecode = True

import line
from line import KIB, MIB

context = multiprocessing.get_context("fork")

LONG = (64 * KIB, MIB, 64 * MIB)


def words(connection, way):
    return line.Words(connection) if way == "send" else line.WordBytes(connection)


def freights(connection, way):
    """The kinds of long messages; round trips take the first."""
    if way == "send":
        return [("owned", lambda size: line.Owned(connection, size))]
    return [
        ("into", lambda size: line.Kept(connection, size)),
        ("fresh", lambda size: line.Bytes(connection, size)),
        ("owned", lambda size: line.OwnedBytes(connection, size)),
    ]


def lead(connection, way):
    number, kinds = words(connection, way), freights(connection, way)
    natural = kinds[0][1]
    line.lead_trips("8B", number)
    for size in (KIB, 64 * KIB, MIB):
        line.lead_trips(line.size_name(size), natural(size))
    line.lead_stream("msgs[8B]", number, number)
    line.lead_stream("msgs[1KiB]", natural(KIB), number)
    for name, kind in kinds:
        for size in LONG:
            length_s = 0.4 if size > MIB else 0.15
            line.lead_stream(f"{name}[{line.size_name(size)}]", kind(size), number, length_s)
    line.lead_idle(number)


def follow(connection, way):
    number, kinds = words(connection, way), freights(connection, way)
    natural = kinds[0][1]
    line.follow_trips(number)
    for size in (KIB, 64 * KIB, MIB):
        line.follow_trips(natural(size))
    line.follow_stream(number, number)
    line.follow_stream(natural(KIB), number)
    for _, kind in kinds:
        for size in LONG:
            line.follow_stream(kind(size), number)
    line.follow_idle(number)


def main():
    way = sys.argv[1]
    mine, theirs = context.Pipe()

    def child():
        mine.close()
        follow(theirs, way)

    process = context.Process(target=child, daemon=True)
    process.start()
    theirs.close()
    lead(mine, way)
    process.join()
    assert process.exitcode == 0, f"the follower ended with {process.exitcode}"


if __name__ == "__main__":
    main()
