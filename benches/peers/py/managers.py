"""Family `manager` on CPython's multiprocessing.Manager: `dict` from one client, and from several."""
import json
import multiprocessing
import os
import time

DIVISOR = max(1, int(os.environ.get("PEERS_DIV", "1")))
KEYS, OPS = 1000, max(100, 4000 // DIVISOR)
VALUE = b"\7" * 32

context = multiprocessing.get_context("fork")


def figure(metric, value, unit):
    print(json.dumps({"m": metric, "v": value, "u": unit}), flush=True)


def gets(managed, ops):
    for op in range(ops):
        assert len(managed.get(op % KEYS)) == 32


def client(managed, results):
    gets(managed, OPS // 10)
    begin = time.monotonic()
    gets(managed, OPS)
    results.put((begin, time.monotonic()))


def main():
    manager = context.Manager()
    managed = manager.dict({key: VALUE for key in range(KEYS)})
    gets(managed, 100)
    begin = time.monotonic()
    for op in range(OPS):
        managed[op % KEYS] = VALUE
    figure("set", OPS / (time.monotonic() - begin), "op/s")
    begin = time.monotonic()
    gets(managed, OPS)
    figure("get", OPS / (time.monotonic() - begin), "op/s")
    for clients in (2, 4):
        results = context.SimpleQueue()
        crew = [context.Process(target=client, args=(managed, results), daemon=True) for _ in range(clients)]
        for member in crew:
            member.start()
        times = [results.get() for _ in crew]
        for member in crew:
            member.join()
        took = max(end for _, end in times) - min(begin for begin, _ in times)
        figure(f"get[{clients}]", clients * OPS / took, "op/s")
    manager.shutdown()


if __name__ == "__main__":
    main()
