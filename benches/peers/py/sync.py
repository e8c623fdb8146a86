"""Family `sync` on CPython's multiprocessing: Lock, RLock, Semaphore, Event, Condition, Barrier.

Processes are forked. The figures are those of benches/src/sync.rs.
"""
import itertools
import json
import mmap
import multiprocessing
import os
import time

DIVISOR = max(1, int(os.environ.get("PEERS_DIV", "1")))
BATCHES = 20
BATCH = 10_000 // DIVISOR
CONTEST_S = 0.4 / DIVISOR
BURST = 16
WAKES = 300 // DIVISOR
EARLY_WAKES = 10
ASLEEP_AFTER_S = 300e-6
SPINNING_AFTER_NS = 3_000
MEETINGS = 1000 // DIVISOR
NAP_S = 20e-6
PATIENCE_S = 30

# Places of the words that processes share. Those of one kind have a word for each process.
STAGE, COUNTER, READY, WOKEN_AT, ELAPSED_NS = (16 * place for place in range(5))
ARRIVED, TOTAL, CPU_NS, SEAT = (16 * (5 + 4 * place) for place in range(4))
WORDS = 16 * 21

context = multiprocessing.get_context("fork")
words = memoryview(mmap.mmap(-1, 8 * WORDS)).cast("Q")


def figure(metric, value, unit):
    print(json.dumps({"m": metric, "v": value, "u": unit}), flush=True)


def quantile(samples, percent):
    samples = sorted(samples)
    return samples[((len(samples) - 1) * percent + 50) // 100]


def clear():
    for place in range(WORDS):
        words[place] = 0


def run(size, role, lead=lambda: None):
    """What `lead` returns, while `size` processes do their `role`."""
    processes = [context.Process(target=role, args=(seat,), daemon=True) for seat in range(size)]
    for process in processes:
        process.start()
    led = lead()
    for process in processes:
        process.join()
        assert process.exitcode == 0, f"a process ended with {process.exitcode}"
    return led


def uncontended(metric, lock):
    acquire, release = lock.acquire, lock.release

    def batch():
        begin = time.perf_counter_ns()
        for _ in itertools.repeat(None, BATCH):
            acquire()
            release()
        return time.perf_counter_ns() - begin

    batch()
    figure(metric, quantile([batch() for _ in range(BATCHES)], 50) / BATCH, "ns")


def contended(size):
    lock = context.Lock()
    clear()

    def hammer(seat):
        acquire, release = lock.acquire, lock.release
        words[ARRIVED + 16 * seat] = 1
        while words[STAGE] < 1:
            time.sleep(NAP_S)
        cpu_before = time.thread_time_ns()
        done = 0
        while words[STAGE] == 1:
            for _ in itertools.repeat(None, BURST):
                acquire()
                words[COUNTER] += 1
                release()
            done += BURST
        words[CPU_NS + 16 * seat] = time.thread_time_ns() - cpu_before
        words[TOTAL + 16 * seat] = done

    def lead():
        await_that(lambda: all(words[ARRIVED + 16 * seat] for seat in range(size)), nap)
        begin = time.perf_counter()
        words[STAGE] = 1
        time.sleep(CONTEST_S)
        length = time.perf_counter() - begin
        words[STAGE] = 2
        return length

    length = run(size, hammer, lead)
    total, cpu_ns = (sum(words[kind + 16 * seat] for seat in range(4)) for kind in (TOTAL, CPU_NS))
    assert total == words[COUNTER] > 0, f"{words[COUNTER]} counted in {total} turns"
    figure(f"lock_contended_{size}p", total / length, "ops/s")
    figure(f"cpu_contended_{size}p", cpu_ns / 1e9 / length, "s/s")


def nap():
    time.sleep(NAP_S)


def spin():
    pass


def await_that(is_so, meanwhile):
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "a process is dead or hangs"
        meanwhile()


def asleep():
    time.sleep(ASLEEP_AFTER_S)


def spinning():
    end = time.monotonic_ns() + SPINNING_AFTER_NS
    while time.monotonic_ns() < end:
        pass


def wakes(name, wait, reset, wake):
    # On one processor nobody is met spinning.
    paces = [("wake", nap, asleep, (50, 99)), ("spin", spin, spinning, (50,))]
    for way, meanwhile, let_it_wait, quantiles in paces[: len(os.sched_getaffinity(0))]:
        clear()

        def waiter(_seat):
            for number in range(1, EARLY_WAKES + WAKES + 1):
                words[READY] = number
                wait()
                words[WOKEN_AT] = time.monotonic_ns()
                reset()
            words[READY] = EARLY_WAKES + WAKES + 1

        def lead():
            latencies = []
            for number in range(1, EARLY_WAKES + WAKES + 1):
                await_that(lambda: words[READY] >= number, meanwhile)
                let_it_wait()
                assert words[READY] == number, "the waiter did not wait"
                begin = time.monotonic_ns()
                wake()
                await_that(lambda: words[READY] > number, meanwhile)
                latencies.append(words[WOKEN_AT] - begin)
            return latencies[EARLY_WAKES:]

        latencies = run(1, waiter, lead)
        for percent in quantiles:
            figure(f"{name}_{way}_p{percent}", quantile(latencies, percent) / 1e3, "us")


def conditions():
    condition, flag = context.Condition(), memoryview(mmap.mmap(-1, 8)).cast("Q")

    def wait():
        with condition:
            while not flag[0]:
                condition.wait()
            flag[0] = 0

    def wake():
        with condition:
            flag[0] = 1
            condition.notify()

    wakes("cond", wait, lambda: None, wake)


def barrier(size):
    meeting = context.Barrier(size)
    clear()

    def rounds(seat, which, look_every):
        for number in which:
            words[SEAT + 16 * seat] = number
            meeting.wait()
            if number % look_every == 0:
                for other in range(size):
                    there = words[SEAT + 16 * other]
                    assert number <= there <= number + 1, f"{seat} in {number}, {other} in {there}"

    def circle(seat):
        early = MEETINGS // 8
        rounds(seat, range(1, early + 1), 1)
        begin = time.perf_counter_ns()
        rounds(seat, range(early + 1, early + MEETINGS + 1), 64)
        if seat == 0:
            words[ELAPSED_NS] = time.perf_counter_ns() - begin

    run(size, circle)
    figure(f"barrier_{size}p", MEETINGS / (words[ELAPSED_NS] / 1e9), "rounds/s")


def main():
    uncontended("lock_uncontended", context.Lock())
    uncontended("rlock_uncontended", context.RLock())
    uncontended("sem_uncontended", context.Semaphore(1))
    for size in (2, 4):
        contended(size)
    event = context.Event()
    wakes("event", event.wait, event.clear, event.set)
    conditions()
    for size in (2, 4):
        barrier(size)


if __name__ == "__main__":
    main()
