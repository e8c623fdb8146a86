"""The crash table's side of Python: `crash_pools.py <scene> <pool>`; docs and figures are `cargo xtask crash-table`'s.

Scenes: `kill` and `segment` (the fourth of eight tasks ends its worker so), `init` (the initializer kills its worker), `busy` (tasks of a
second, until somebody sends a signal). What it says: `outcome <place> <what>`, `wall <s>`, `late <s>`, `usable <yes or why not>`, or
`none` when there is no such thing.
"""
import concurrent.futures
import multiprocessing
import os
import signal
import sys
import time

FOLDER = os.environ["CRASH_FOLDER"]
PATIENCE = float(os.environ["CRASH_PATIENCE"])
WORKERS, TASKS, TASK_S = 2, 8, 0.05
BUSY_TASKS, BUSY_S = 16, 1.0
LETHAL = 3
NEVER = "never"


def mark(name, text="x"):
    """Appends to a file that whoever looks on reads."""
    fd = os.open(os.path.join(FOLDER, name), os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    os.write(fd, text.encode())
    os.close(fd)


def task(job):
    place, seconds, way = job
    mark("begun")
    if way:
        time.sleep(seconds / 2)
        mark("death", str(time.monotonic_ns()))
        os.kill(os.getpid(), way)
    time.sleep(seconds)
    return place


def die_at_start():
    mark("starts")
    os.kill(os.getpid(), signal.SIGKILL)


TOLD = []


def tell(error=None):
    """Somebody learns of an error, now."""
    if not TOLD and error is not None:
        TOLD.append(time.monotonic_ns())


def name_of(error):
    tell(error)
    # billiard wraps them.
    return type(getattr(error, "exc", error)).__name__


def whole(call, count):
    """Outcomes of a call that has all values or one error."""
    try:
        values = call()
    except (multiprocessing.TimeoutError, TimeoutError):
        return [NEVER] * count
    except Exception as error:
        return [name_of(error)] * count
    assert sorted(values) == list(range(count))
    return ["ok"] * count


def each(results, get):
    """Outcomes of calls of one task each, all of which have until the end of our patience."""
    end = time.monotonic() + PATIENCE
    outcomes = []
    for place, result in enumerate(results):
        try:
            assert get(result, max(end - time.monotonic(), 0.01)) == place
            outcomes.append("ok")
        except (multiprocessing.TimeoutError, TimeoutError, concurrent.futures.TimeoutError):
            outcomes.append(NEVER)
        except Exception as error:
            outcomes.append(name_of(error))
    return outcomes


def futures(submit, jobs):
    """Outcomes of futures."""
    results = []
    for job in jobs:
        try:
            results.append(submit(job))
        except Exception as error:
            future = concurrent.futures.Future()
            future.set_exception(error)
            results.append(future)
    for future in results:
        future.add_done_callback(lambda done: tell(None if done.cancelled() else done.exception()))
    return each(results, lambda future, left: future.result(left))


def mp_map(init):
    pool = multiprocessing.get_context("fork").Pool(WORKERS, initializer=init)
    return lambda jobs: whole(lambda: pool.map_async(task, jobs, chunksize=1).get(PATIENCE), len(jobs))


def mp_apply(init):
    pool = multiprocessing.get_context("fork").Pool(WORKERS, initializer=init)
    return lambda jobs: each(
        [pool.apply_async(task, (job,), error_callback=tell) for job in jobs], lambda result, left: result.get(left)
    )


def billiard_apply(init):
    import billiard

    pool = billiard.Pool(WORKERS, initializer=init)
    return lambda jobs: each(
        [pool.apply_async(task, (job,), error_callback=tell) for job in jobs], lambda result, left: result.get(left)
    )


def executor(init):
    fork = multiprocessing.get_context("fork")
    pool = concurrent.futures.ProcessPoolExecutor(WORKERS, mp_context=fork, initializer=init)
    return lambda jobs: futures(lambda job: pool.submit(task, job), jobs)


def loky(init):
    from loky import get_reusable_executor

    # It is asked for anew for each call, which is how it is used.
    def run(jobs):
        pool = get_reusable_executor(max_workers=WORKERS, initializer=init)
        return futures(lambda job: pool.submit(task, job), jobs)

    return run


def joblib(init):
    from joblib import Parallel, delayed

    return lambda jobs: whole(lambda: Parallel(n_jobs=WORKERS, batch_size=1)(delayed(task)(job) for job in jobs), len(jobs))


def pebble(init):
    from pebble import ProcessPool

    pool = ProcessPool(max_workers=WORKERS, initializer=init)
    return lambda jobs: futures(lambda job: pool.schedule(task, args=(job,)), jobs)


def mpire_map(init):
    from mpire import WorkerPool

    pool = WorkerPool(n_jobs=WORKERS)
    return lambda jobs: whole(
        lambda: pool.map(task, [(job,) for job in jobs], chunk_size=1, worker_init=init), len(jobs)
    )


def mpire_apply(init):
    from mpire import WorkerPool

    pool = WorkerPool(n_jobs=WORKERS)
    return lambda jobs: each(
        [pool.apply_async(task, (job,), worker_init=init, error_callback=tell) for job in jobs],
        lambda result, left: result.get(left),
    )


POOLS = {
    "multiprocessing.Pool.map": mp_map,
    "multiprocessing.Pool.apply_async": mp_apply,
    "billiard.Pool.apply_async": billiard_apply,
    "ProcessPoolExecutor.submit": executor,
    "loky.submit": loky,
    "joblib.Parallel": joblib,
    "pebble.ProcessPool.schedule": pebble,
    "mpire.WorkerPool.map": mpire_map,
    "mpire.WorkerPool.apply_async": mpire_apply,
}
NO_INITIALIZER = ["joblib.Parallel"]


def say(*words):
    print(*words, flush=True)


def report(outcomes, start):
    wall = time.monotonic() - start
    for place, outcome in enumerate(outcomes):
        say("outcome", place, outcome)
    say("wall", f"{wall:.3f}")
    try:
        with open(os.path.join(FOLDER, "death")) as file:
            death = int(file.read())
        if TOLD:
            say("late", f"{(TOLD[0] - death) / 1e9:.6f}")
    except (OSError, ValueError):
        pass


def main():
    scene, name = sys.argv[1:]
    if scene == "busy":
        run = POOLS[name](None)
        run([(place, BUSY_S, None) for place in range(BUSY_TASKS)])
        return
    if scene == "init" and name in NO_INITIALIZER:
        say("none")
        return
    init = die_at_start if scene == "init" else None
    way = {"kill": signal.SIGKILL, "segment": signal.SIGSEGV}.get(scene)
    start = time.monotonic()
    try:
        run = POOLS[name](init)
        outcomes = run([(place, TASK_S, way if place == LETHAL else None) for place in range(TASKS)])
    except Exception as error:
        outcomes = [name_of(error)] * TASKS
    report(outcomes, start)
    if scene != "init":
        try:
            again = run([(place, TASK_S, None) for place in range(2)])
            say("usable", "yes" if again == ["ok", "ok"] else "no: " + again[0])
        except Exception as error:
            say("usable", "no: " + type(error).__name__)
    # Whoever cannot end is ended.
    os._exit(0)


if __name__ == "__main__":
    main()
