"""Family `python`: a manager (`serve`), or a client of one (`use` and its address), by CPython's own code."""
import json
import os
import sys
import time
from multiprocessing.managers import SyncManager

DIVISOR = max(1, int(os.environ.get("PEERS_DIV", "1")))
KEY = b"benchmark"
LENGTH_S = 0.4 / DIVISOR


def figure(metric, value, unit):
    print(json.dumps({"m": metric, "v": value, "u": unit}), flush=True)


def rate(operation):
    for _ in range(3):
        operation()
    count, begin = 0, time.monotonic()
    end = begin + LENGTH_S
    while time.monotonic() < end:
        operation()
        count += 1
    return count / (time.monotonic() - begin)


def use(address):
    manager = SyncManager(address=address, authkey=KEY)
    manager.connect()
    shared = manager.dict()
    shared["key"] = b"\7" * 32
    shared["large"] = bytes(1 << 20)
    numbers = manager.list(list(range(1000)))
    queue = manager.Queue()

    def pair():
        queue.put(1)
        queue.get()

    figure("get", rate(lambda: shared["key"]), "op/s")
    figure("set", rate(lambda: shared.__setitem__("key", b"\7" * 32)), "op/s")
    figure("put_get", rate(pair), "op/s")
    figure("get[1000 ints]", rate(lambda: numbers[:]), "op/s")
    figure("get[1 MiB]", rate(lambda: shared["large"]), "op/s")
    figure("create_drop", rate(lambda: manager.list() and None), "op/s")


def main():
    if sys.argv[1] == "serve":
        server = SyncManager(authkey=KEY).get_server()
        print(server.address, flush=True)
        server.serve_forever()
    else:
        use(sys.argv[2])


if __name__ == "__main__":
    main()
