"""Family `socket` on CPython's multiprocessing.connection: Listener and Client. The process is forked."""
import multiprocessing
import sys
from multiprocessing.connection import Client, Listener

# The sources' folder is to stay as it is.
sys.dont_write_bytecode = True

import line
from line import KIB, MIB

context = multiprocessing.get_context("fork")


def lead(connection, kind):
    number = line.WordBytes(connection)
    line.lead_trips(f"{kind} 8B", number)
    for size in (KIB, 64 * KIB):
        line.lead_trips(f"{kind} {line.size_name(size)}", line.Kept(connection, size))
    line.lead_stream(f"msgs[{kind} 8B]", number, number)
    for size in (64 * KIB, MIB):
        line.lead_stream(f"into[{kind} {line.size_name(size)}]", line.Kept(connection, size), number)


def follow(connection):
    number = line.WordBytes(connection)
    line.follow_trips(number)
    for size in (KIB, 64 * KIB):
        line.follow_trips(line.Kept(connection, size))
    line.follow_stream(number, number)
    for size in (64 * KIB, MIB):
        line.follow_stream(line.Kept(connection, size), number)


def main():
    for kind, family in (("unix", "AF_UNIX"), ("tcp", "AF_INET")):
        with Listener(family=family) as listener:
            process = context.Process(
                target=lambda: follow(Client(listener.address)), daemon=True
            )
            process.start()
            with listener.accept() as connection:
                lead(connection, kind)
            process.join()
            assert process.exitcode == 0, f"the follower ended with {process.exitcode}"


if __name__ == "__main__":
    main()
