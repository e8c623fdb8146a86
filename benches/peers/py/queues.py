"""Family `queue` on CPython's multiprocessing: the argument is `Queue` or `SimpleQueue`.

Processes are forked. The figures are those of benches/src/bin/queue_procession.rs.
"""
import json
import multiprocessing
import os
import sys
import time

DIVISOR = max(1, int(os.environ.get("PEERS_DIV", "1")))
SIZES = ((8, "8B", 20_000), (1024, "1KiB", 20_000), (1 << 20, "1MiB", 100))
PAIRS = (1, 2, 4)

context = multiprocessing.get_context("fork")


def figure(metric, value, unit):
    print(json.dumps({"m": metric, "v": value, "u": unit}), flush=True)


def put(queue, barrier, item, each):
    barrier.wait()
    for _ in range(each):
        queue.put(item)


def get(queue, barrier, each):
    barrier.wait()
    for _ in range(each):
        queue.get()


def measure(kind, size, pairs, each):
    queue = getattr(context, kind)()
    barrier = context.Barrier(2 * pairs + 1)
    item = 7 if size == 8 else bytes(size)
    crew = [context.Process(target=put, args=(queue, barrier, item, each), daemon=True) for _ in range(pairs)]
    crew += [context.Process(target=get, args=(queue, barrier, each), daemon=True) for _ in range(pairs)]
    for member in crew:
        member.start()
    barrier.wait()
    begin = time.perf_counter()
    for member in crew:
        member.join()
        assert member.exitcode == 0, f"a process ended with {member.exitcode}"
    return time.perf_counter() - begin


for size, name, count in SIZES:
    for pairs in PAIRS:
        each = max(1, count // DIVISOR // pairs)
        seconds = measure(sys.argv[1], size, pairs, each)
        figure(f"msgs[{pairs}p{pairs}c,{name}]", each * pairs / seconds, "msg/s")
        if size >= 1 << 20:
            figure(f"GBps[{pairs}p{pairs}c,{name}]", each * pairs * size / seconds / 1e9, "GB/s")
