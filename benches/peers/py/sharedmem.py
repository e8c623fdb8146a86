"""Family `sharedmem` on CPython's multiprocessing. The argument is `blocks` (SharedMemory). The process is forked."""
import multiprocessing
import os
import sys
import time

# The sources' folder is to stay as it is.
sys.dont_write_bytecode = True

from multiprocessing import resource_tracker, shared_memory

from line import DIVISOR, figure, quantile

context = multiprocessing.get_context("fork")

BIG = 256 << 20
PAGE = 4096
ROUNDS = max(3, 7 // DIVISOR)

now = time.perf_counter_ns


def work(connection):
    while True:
        name = connection.recv()
        if name is None:
            return
        block = shared_memory.SharedMemory(name=name)
        block.buf[BIG - 1]
        connection.send_bytes(b"a")
        # One byte of each page, without a loop.
        bytes(block.buf[::PAGE])
        connection.send_bytes(b"a")
        block.close()
        connection.send_bytes(b"a")


def fill(source):
    block = shared_memory.SharedMemory(create=True, size=BIG)
    block.buf[:BIG] = source
    return block


def give_up(block):
    block.close()
    block.unlink()


def sharing(source):
    mine, theirs = context.Pipe()
    worker = context.Process(target=work, args=(theirs,))
    worker.start()
    filled, seen, touched = [], [], []
    for _ in range(ROUNDS):
        begin = now()
        block = fill(source)
        mine.send(block.name)
        mine.recv_bytes()
        filled.append(now() - begin)
        mine.recv_bytes()
        mine.recv_bytes()
        begin = now()
        mine.send(block.name)
        mine.recv_bytes()
        seen.append(now() - begin)
        mine.recv_bytes()
        touched.append(now() - begin)
        mine.recv_bytes()
        give_up(block)
    mine.send(None)
    worker.join()
    for name, times in (("copyin", filled), ("handle", seen), ("touch", touched)):
        figure(f"{name}[256MiB]", quantile(times, 50) / 1e6, "ms")


def refilling(source):
    times = []
    for _ in range(ROUNDS):
        begin = now()
        block = fill(source)
        times.append(now() - begin)
        give_up(block)
    figure("refill[256MiB]", quantile(times, 50) / 1e6, "ms")


def copies():
    """Into and out of a bytearray that is there."""
    for name, size in (("64KiB", 64 << 10), ("64MiB", 64 << 20)):
        block = shared_memory.SharedMemory(create=True, size=size)
        buffer = bytearray(os.urandom(4096) * (size // 4096))
        view = memoryview(buffer)
        for what, target, origin in (("read", view, block.buf), ("write", block.buf, view)):
            best = 0
            for _ in range(5):
                begin, count = now(), 0
                while now() - begin < 30_000_000 // DIVISOR or count < 2:
                    target[:] = origin
                    count += 1
                best = max(best, count * size / (now() - begin))
            figure(f"{what}[{name}]", best, "GB/s")
        give_up(block)


def main():
    # Before there is a fork: one tracker for both.
    resource_tracker.ensure_running()
    source = b"\7" * BIG
    sharing(source)
    refilling(source)
    copies()


if __name__ == "__main__":
    main()
