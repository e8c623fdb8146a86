"""Family `queue` on CPython's multiprocessing: the argument is `Queue` or `SimpleQueue`.

Processes are forked. The figures are those of benches/src/bin/queue_cells/cells.rs, which says what they mean.
"""
import json
import multiprocessing
import os
import statistics
import sys
import time

DIVISOR = max(1, int(os.environ.get("PEERS_DIV", "1")))
SIZES = ((8, "8B", 40_000), (1024, "1KiB", 40_000), (1 << 20, "1MiB", 200))
PAIRS = (1, 2, 4)
# A number of 64 bits, none of whose bytes can be left out.
NUMBER = 0x5A5A_5A5A_5A5A_5A5A
TRIPS, EARLY_TRIPS = max(1, 2000 // DIVISOR), 100

context = multiprocessing.get_context("fork")


def figure(metric, value, unit):
    print(json.dumps({"m": metric, "v": value, "u": unit}), flush=True)


def put(queue, barrier, item, each):
    barrier.wait()
    for _ in range(each):
        queue.put(item)


def get(queue, barrier, size, each, end):
    barrier.wait()
    for _ in range(each):
        item = queue.get()
        assert item == NUMBER if size == 8 else len(item) == size, "this was not put"
    now = time.monotonic()
    with end.get_lock():
        end.value = max(end.value, now)


def measure(kind, size, pairs, each):
    """From the beginning, for which all wait, until the last getter has its last item."""
    queue = getattr(context, kind)()
    barrier = context.Barrier(2 * pairs + 1)
    end = context.Value("d", 0.0)
    item = NUMBER if size == 8 else b"\7" * size
    crew = [context.Process(target=put, args=(queue, barrier, item, each), daemon=True) for _ in range(pairs)]
    crew += [context.Process(target=get, args=(queue, barrier, size, each, end), daemon=True) for _ in range(pairs)]
    for member in crew:
        member.start()
    barrier.wait()
    begin = time.monotonic()
    join(crew)
    return end.value - begin


def join(crew):
    for member in crew:
        member.join()
        assert member.exitcode == 0, f"a process ended with {member.exitcode}"


def answer(there, back):
    for _ in range(EARLY_TRIPS + TRIPS):
        back.put(there.get())


def wake(kind):
    """Half a round trip through two queues, in microseconds."""
    there, back = (getattr(context, kind)() for _ in range(2))
    other = context.Process(target=answer, args=(there, back), daemon=True)
    other.start()
    times = []
    for _ in range(EARLY_TRIPS + TRIPS):
        begin = time.perf_counter()
        there.put(NUMBER)
        back.get()
        times.append(time.perf_counter() - begin)
    join([other])
    return statistics.median(times[EARLY_TRIPS:]) / 2 * 1e6


def main():
    kind = sys.argv[1]
    for size, name, count in SIZES:
        for pairs in PAIRS:
            each = max(1, count // DIVISOR // pairs)
            seconds = measure(kind, size, pairs, each)
            figure(f"msgs[{pairs}p{pairs}c,{name}]", each * pairs / seconds, "msg/s")
            if size >= 1 << 20:
                figure(f"GBps[{pairs}p{pairs}c,{name}]", each * pairs * size / seconds / 1e9, "GB/s")
    figure("wake_us", wake(kind), "us")


if __name__ == "__main__":
    main()
