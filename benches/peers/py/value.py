"""Family `sharedmem` on CPython's multiprocessing: Value, Array, RawArray.

Processes are forked. The figures are those of benches/src/value.rs; CPython has no atomic addition.
"""
import itertools
import json
import mmap
import multiprocessing
import os
import time
from ctypes import c_longlong

DIVISOR = max(1, int(os.environ.get("PEERS_DIV", "1")))
BATCHES = 20
BATCH = 5_000 // DIVISOR
CONTEST_S = 0.4 / DIVISOR
BURST = 16
NAP_S = 20e-6
PATIENCE_S = 30
ITEMS = 1000
PROCESSES = 2

# Places of the words that processes share. Those of one kind have a word for each process.
STAGE, ARRIVED, TOTAL = (16 * place for place in (0, 1, 5))
WORDS = 16 * 9

context = multiprocessing.get_context("fork")
words = memoryview(mmap.mmap(-1, 8 * WORDS)).cast("Q")


def figure(metric, value, unit):
    print(json.dumps({"m": metric, "v": value, "u": unit}), flush=True)


def median(samples):
    return sorted(samples)[len(samples) // 2]


def alone(metric, batch):
    batch()
    figure(metric, median([batch() for _ in range(BATCHES)]) / BATCH, "ns")


def increment():
    value = context.Value(c_longlong)

    def batch():
        lock = value.get_lock
        begin = time.perf_counter_ns()
        for _ in itertools.repeat(None, BATCH):
            with lock():
                value.value += 1
        return time.perf_counter_ns() - begin

    alone("value_incr[1p]", batch)


def write(metric, array):
    def batch():
        begin = time.perf_counter_ns()
        for number in range(BATCH):
            array[number % ITEMS] = number
        return time.perf_counter_ns() - begin

    alone(metric, batch)


def contended():
    value = context.Value(c_longlong)

    def hammer(seat):
        lock = value.get_lock
        words[ARRIVED + 16 * seat] = 1
        while words[STAGE] < 1:
            time.sleep(NAP_S)
        done = 0
        while words[STAGE] == 1:
            for _ in itertools.repeat(None, BURST):
                with lock():
                    value.value += 1
            done += BURST
        words[TOTAL + 16 * seat] = done

    processes = [
        context.Process(target=hammer, args=(seat,), daemon=True) for seat in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    deadline = time.monotonic() + PATIENCE_S
    while sum(words[ARRIVED + 16 * seat] for seat in range(PROCESSES)) < PROCESSES:
        assert time.monotonic() < deadline, "not all arrived"
        time.sleep(NAP_S)
    begin = time.perf_counter()
    words[STAGE] = 1
    time.sleep(CONTEST_S)
    length = time.perf_counter() - begin
    words[STAGE] = 2
    for process in processes:
        process.join()
        assert process.exitcode == 0, f"a process ended with {process.exitcode}"
    total = sum(words[TOTAL + 16 * seat] for seat in range(PROCESSES))
    assert value.value == total > 0, f"increments are lost: {value.value} counted in {total} turns"
    figure("value_incr[2p]", total / length, "ops/s")


increment()
write("array_write[locked]", context.Array(c_longlong, ITEMS))
write("array_write[raw]", context.RawArray(c_longlong, ITEMS))
contended()
