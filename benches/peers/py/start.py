"""Family `start` on CPython's multiprocessing: create, first message, join.

The argument is the start method. The figures are those of benches/src/measure.rs.
"""
import json
import multiprocessing
import os
import resource
import sys
import time


def child(connection):
    connection.send_bytes(b"x")


def start_one(context):
    """Start a process and reap it; the time of its first message."""
    reader, writer = context.Pipe(False)
    process = context.Process(target=child, args=(writer,))
    process.start()
    reader.recv_bytes()
    message = time.perf_counter_ns()
    process.join()
    assert process.exitcode == 0
    reader.close()
    writer.close()
    return message


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def quantile_us(samples, percent):
    samples = sorted(samples)
    return samples[((len(samples) - 1) * percent + 50) // 100] / 1e3


def figure(metric, value):
    print(json.dumps({"m": metric, "v": value, "u": "us"}), flush=True)


def main(method):
    context = multiprocessing.get_context(method)
    mib = int(os.environ.get("PEERS_RSS_MB", "10"))
    wanted = {"spawn": 8, "forkserver": 12}.get(method, 15 if mib > 100 else 25)
    starts = max(3, wanted // max(1, int(os.environ.get("PEERS_DIV", "1"))))
    ballast = bytearray(b"\x01") * (mib << 20)

    cpu_before = cpu_seconds()
    start_one(context)
    first, whole = [], []
    for _ in range(starts):
        begin = time.perf_counter_ns()
        message = start_one(context)
        whole.append(time.perf_counter_ns() - begin)
        first.append(message - begin)
    cpu_loop = cpu_seconds() - cpu_before
    del ballast
    outside = cpu_seconds() - cpu_loop

    tag = f"[{mib}MB]"
    figure("first_msg" + tag, quantile_us(first, 50))
    figure("create_join" + tag, quantile_us(whole, 50))
    figure("create_join_p90" + tag, quantile_us(whole, 90))
    print(json.dumps({"cpu": "cpu" + tag, "outside_s": outside, "ops": starts + 1}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
