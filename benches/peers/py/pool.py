"""Family `pool` on Python's pools: the argument is `fork` or `spawn` (multiprocessing.Pool), `executor`, `loky`, `joblib`, `mpire` or `billiard`.

The figures are those of benches/src/pool.rs, which says what they mean. A list of ten million numbers would be half a gigabyte here, so
that the long map is left out.
"""
import glob
import os
import sys
import time

from line import DIVISOR, figure, now, quantile
from pool_tasks import TOIL_NS, echo, square, toil

WORKERS = 2
MAP, MOST_SINGLE, FIRST_SINGLE = 1_000_000, 500_000, 2000
# Who is slow takes fewer numbers: the rate is the same.
SHORT_MAP = 100_000
SINGLE_NS = 200_000_000
TRIPS, LEAST_TRIPS, EARLY_TRIPS, TRIPS_NS = 5000, 20, 20, 1_000_000_000
PARCELS, PARCEL = 200, 1 << 20
TOILS = 64
IDLE_S, SETTLE_S = 2, 0.05
RUNS, LIVES, PATIENCE_NS = 5, 15, 1_000_000_000


def scaled(count, least=1):
    return max(count // DIVISOR, least)


def middle(most, run):
    """The middle of so many runs at most, of which each returns how long it took."""
    begin, times = now(), []
    while not times or (len(times) < most and now() - begin < PATIENCE_NS // DIVISOR):
        times.append(run())
    return sorted(times)[len(times) // 2]


def timed(do, is_right):
    """How long that takes; what it returns is looked at afterwards."""
    begin = now()
    result = do()
    took = now() - begin
    assert is_right(result), "a result is wrong"
    return took


def print_rate(name, count, took_ns):
    figure(name, count / (took_ns / 1e9), "tasks/s")


def measure_map(run, most=MAP):
    count = scaled(most)
    expected = [number * number for number in range(count)]
    took = middle(RUNS, lambda: timed(lambda: run(range(count)), lambda squares: squares == expected))
    print_rate("map[1M]", count, took)


def measure_unordered(run, chunks=("1", "default")):
    """`run` makes an iterator; it is timed once for all `chunks` that are the same to it."""

    def once():
        expected = (count - 1) * count * (2 * count - 1) // 6
        return timed(lambda: sum(run(count)), lambda total: total == expected)

    most = scaled(MOST_SINGLE)
    count = min(FIRST_SINGLE, most)
    while once() < SINGLE_NS // DIVISOR and count < most:
        count = min(count * 4, most)
    took = middle(RUNS, once)
    for chunk in chunks:
        print_rate(f"unordered[{chunk}]", count, took)


def measure_apply(apply):
    trips, end = [], now() + TRIPS_NS // DIVISOR
    for number in range(EARLY_TRIPS + scaled(TRIPS, LEAST_TRIPS)):
        begin = now()
        found = apply(number)
        trips.append(now() - begin)
        assert found == number * number, "a square is wrong"
        if begin >= end and len(trips) >= EARLY_TRIPS + LEAST_TRIPS:
            break
    for percent in (50, 99):
        figure(f"apply_p{percent}", quantile(trips[EARLY_TRIPS:], percent) / 1e3, "us")


def measure_parcels(run):
    """`run` returns the parcels that came back."""
    count = scaled(PARCELS, 2 * WORKERS)

    def worth(parcels):
        return sum(len(parcel) for parcel in parcels if parcel[0] == parcel[-1] == 7)

    def once():
        parcels = [bytes([7]) * PARCEL for _ in range(count)]
        return timed(lambda: worth(run(parcels)), lambda total: total == count * PARCEL)

    figure("bytes[1MiB]", 2 * count * PARCEL / middle(RUNS, once), "GB/s")


def measure_toils(run):
    count = scaled(TOILS, 2 * WORKERS)
    took = middle(RUNS, lambda: timed(lambda: list(run(count)), lambda done: done == [None] * count))
    figure("efficiency", TOIL_NS * count / (WORKERS * took), "ratio")


def measure_lives(life):
    figure("start_stop", middle(LIVES, lambda: timed(life, lambda squares: squares == [1, 4])) / 1e6, "ms")


def workers():
    """The processes that this one has started, but for those that look after what libraries leave behind."""
    found = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as stat, open(path.replace("stat", "cmdline")) as command:
                parent, pid = int(stat.read().rsplit(")", 1)[1].split()[1]), int(path.split("/")[2])
                if parent == os.getpid() and "resource_tracker" not in command.read():
                    found.append(pid)
        except OSError:
            pass
    assert len(found) == WORKERS, f"{len(found)} workers"
    return found


def kibibytes(pid, name):
    with open(f"/proc/{pid}/smaps_rollup") as account:
        return next(int(line.split()[1]) for line in account if line.startswith(name))


def cpu_of_all(pids):
    """Processor time of this process and of those, by the clock that each has."""
    clocks = [~pid << 3 | 2 for pid in pids]
    return time.process_time() + sum(map(time.clock_gettime, clocks))


def measure_rest():
    pids = workers()
    time.sleep(SETTLE_S)
    before, begin = cpu_of_all(pids), time.perf_counter()
    time.sleep(IDLE_S)
    length = time.perf_counter() - begin
    figure("cpu_idle", (cpu_of_all(pids) - before) * 1e6 / length, "us/s")
    for name, line in (("worker_rss", "Rss:"), ("worker_pss", "Pss:")):
        figure(name, max(kibibytes(pid, line) for pid in pids) / 1024, "MiB")


def pools(context):
    """multiprocessing.Pool, and that of billiard."""

    def live():
        pool = context.Pool(WORKERS)
        squares = pool.map(square, [1, 2])
        end(pool)
        return squares

    def end(pool):
        pool.close()
        pool.join()

    pool = context.Pool(WORKERS)
    measure_map(lambda numbers: pool.map(square, numbers))
    # One item at a time is what it does by default.
    measure_unordered(lambda count: pool.imap_unordered(square, range(count)))
    measure_apply(lambda number: pool.apply(square, (number,)))
    measure_parcels(lambda parcels: pool.imap_unordered(echo, parcels))
    measure_toils(lambda count: pool.map(toil, range(count), chunksize=1))
    measure_rest()
    end(pool)
    measure_lives(live)


def executors(make):
    """concurrent.futures, and loky. A map takes one item at a time unless it is told how many."""

    def live():
        pool = make()
        squares = list(pool.map(square, [1, 2]))
        pool.shutdown(wait=True)
        return squares

    pool = make()
    # They are started by the first tasks, and a fork has what its parent has by then.
    list(pool.map(square, [1, 2]))
    measure_map(lambda numbers: list(pool.map(square, numbers, chunksize=-(-len(numbers) // (4 * WORKERS)))))
    measure_unordered(lambda count: pool.map(square, range(count)))
    measure_apply(lambda number: pool.submit(square, number).result())
    measure_parcels(lambda parcels: pool.map(echo, parcels))
    measure_toils(lambda count: pool.map(toil, range(count)))
    measure_rest()
    pool.shutdown(wait=True)
    measure_lives(live)


def joblib():
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    def calls(function, items):
        return (delayed(function)(item) for item in items)

    def end():
        get_reusable_executor().shutdown(wait=True)

    def live():
        squares = Parallel(n_jobs=WORKERS)(calls(square, [1, 2]))
        end()
        return squares

    with Parallel(n_jobs=WORKERS) as pool, Parallel(n_jobs=WORKERS, batch_size=1) as single:
        measure_map(lambda numbers: pool(calls(square, numbers)))
        measure_unordered(lambda count: single(calls(square, range(count))), ["1"])
        measure_unordered(lambda count: pool(calls(square, range(count))), ["default"])
        measure_apply(lambda number: pool(calls(square, [number]))[0])
        measure_parcels(lambda parcels: pool(calls(echo, parcels)))
        measure_toils(lambda count: single(calls(toil, range(count))))
        measure_rest()
    end()
    measure_lives(live)


def mpire():
    """A pool for each kind of call: one that is kept goes on with the wrong wrapper when the kind changes (mpire 2.10.2)."""
    from mpire import WorkerPool

    def make():
        return WorkerPool(n_jobs=WORKERS, start_method="fork", keep_alive=True)

    def live():
        with make() as pool:
            squares = pool.map(square, [1, 2])
            pool.stop_and_join()
        return squares

    with make() as pool:
        # Started by the first tasks; a fork has what its parent has by then.
        pool.map(square, [1, 2])
        measure_map(lambda numbers: pool.map(square, numbers), SHORT_MAP)
        measure_toils(lambda count: pool.map(toil, range(count), chunk_size=1))
        measure_rest()
        pool.stop_and_join()
    with make() as pool:
        measure_unordered(lambda count: pool.imap_unordered(square, range(count), chunk_size=1), ["1"])
        measure_unordered(lambda count: pool.imap_unordered(square, range(count)), ["default"])
        measure_parcels(lambda parcels: pool.imap_unordered(echo, parcels, chunk_size=1))
        pool.stop_and_join()
    with make() as pool:
        measure_apply(lambda number: pool.apply(square, (number,)))
        pool.stop_and_join()
    measure_lives(live)


def main():
    kind = sys.argv[1]
    if kind in ("fork", "spawn"):
        import multiprocessing

        pools(multiprocessing.get_context(kind))
    elif kind == "billiard":
        import billiard

        pools(billiard.get_context("fork"))
    elif kind == "executor":
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        executors(lambda: ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("fork")))
    elif kind == "loky":
        from loky import get_reusable_executor

        executors(lambda: get_reusable_executor(max_workers=WORKERS, timeout=60))
    elif kind in ("joblib", "mpire"):
        {"joblib": joblib, "mpire": mpire}[kind]()
    else:
        sys.exit(f"there is no pool `{kind}`")


if __name__ == "__main__":
    main()
