"""The tasks of family `pool`, in a module of their own, so that every worker can import them by name."""
import time

TOIL_NS = 10_000_000


def square(number):
    return number * number


def echo(parcel):
    return parcel


def toil(_number=None):
    """Computes for ten milliseconds of processor time."""
    begin = time.thread_time_ns()
    while time.thread_time_ns() - begin < TOIL_NS:
        pass
