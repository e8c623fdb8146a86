"""Uses a manager that is not Python's by stock code, and asserts that it is as Python's own. The first argument says what."""
import os
import queue
import sys
import threading
from multiprocessing import TimeoutError, current_process
from multiprocessing.managers import (BaseManager, IteratorProxy, RemoteError, SyncManager)


class MyManager(SyncManager):
    pass


MyManager.register('Maths')
MyManager.register('Sequence', proxytype=None)
MyManager.register('nosuch')
MyManager.register('shared')
MyManager.register('bag', exposed=('add', 'discard', '__len__', '__contains__', 'copy'))


class QueueManager(BaseManager):
    pass


QueueManager.register('Queue')


def raises(kind, function, *args):
    try:
        function(*args)
    except kind as error:
        assert type(error) is kind, type(error)
        return error
    raise AssertionError('%r raised nothing' % function)


def in_thread(function, *args):
    result = []
    thread = threading.Thread(target=lambda: result.append(function(*args)))
    thread.start()
    return thread, result


def dicts(manager):
    d = manager.dict({'a': 1}, b=[2])
    assert d['a'] == 1 and d['b'] == [2] and len(d) == 2 and 'a' in d and 'z' not in d
    d['c'] = {'x': (1, 2.5, b'3', None, True, {4})}
    assert d['c'] == {'x': (1, 2.5, b'3', None, True, {4})}
    assert d.get('z') is None and d.get('z', 5) == 5 and d.setdefault('s', 6) == 6 and d.setdefault('s', 7) == 6
    assert raises(KeyError, d.__getitem__, 'zz').args == ('zz',)
    assert raises(KeyError, d.pop, 'zz').args == ('zz',)
    assert 'unhashable' in str(raises(TypeError, d.__setitem__, [], 1))
    assert list(d.keys()) == ['a', 'b', 'c', 's'] and list(d.values())[0] == 1
    assert list(d.items())[1] == ('b', [2])
    d.update({'u': 1}, v=2)
    d.update([('w', 3)])
    assert d.pop('u') == 1 and d.pop('u', 0) == 0 and d.popitem() == ('w', 3)
    del d['s']
    d[1] = 'int'
    assert d[1.0] == 'int' and d[True] == 'int'
    del d[1]
    if sys.version_info >= (3, 8):
        assert list(iter(d)) == ['a', 'b', 'c', 'v']
    assert str(d).startswith('{') and 'DictProxy' in repr(d)
    assert d.copy() == d._getvalue() == {'a': 1, 'b': [2], 'c': d['c'], 'v': 2}
    d.clear()
    assert len(d) == 0 and raises(KeyError, d.popitem)


def lists(manager):
    x = manager.list([1, 2, 3])
    x.append('four')
    x.extend([5, 6])
    x += [7]
    x.insert(0, 0)
    assert list(x) == [0, 1, 2, 3, 'four', 5, 6, 7] == x[:]
    assert x[1:3] == [1, 2] and x[::-2] == [7, 5, 3, 1] and x[-1] == 7 and len(x) == 8
    assert x.index('four') == 4 and x.count(1) == 1 and 'four' in x and 99 not in x
    x[4] = 4
    x[1:3] = ['a', 'b', 'c']
    assert x[:] == [0, 'a', 'b', 'c', 3, 4, 5, 6, 7]
    del x[1:4]
    del x[0]
    assert x.pop() == 7 and x.pop(0) == 3
    x.reverse()
    assert x[:] == [6, 5, 4]
    x.sort()
    x.remove(5)
    assert x[:] == [4, 6] and x + [1] == [4, 6, 1] and x * 2 == [4, 6, 4, 6] == 2 * x
    x *= 2
    x.sort(reverse=True)
    assert x[:] == [6, 6, 4, 4] and list(reversed(x)) == [4, 4, 6, 6]
    assert str(raises(IndexError, x.__getitem__, 99))
    assert raises(ValueError, x.remove, 99)
    assert raises(TypeError, x.extend, 5)
    x.append('text')
    assert 'not supported' in str(raises(TypeError, x.sort))
    # One in another one is itself.
    inner = manager.list([1])
    outer = manager.list([inner])
    if sys.version_info >= (3, 9) or not isinstance(inner, str):
        outer[0].append(2)
        assert inner[:] == [1, 2] and outer[0][:] == [1, 2]
        del inner
        assert outer[0][:] == [1, 2]
    for big in (b'x' * (3 << 20), list(range(100000)), 'é' * 100000):
        x[0] = big
        assert x[0] == big


def queues(manager):
    q = manager.Queue(2)
    q.put('hello')
    q.put((1, [2.5]))
    assert raises(queue.Full, q.put_nowait, 0) is not None
    assert raises(queue.Full, q.put, 0, True, 0.02) is not None
    assert raises(queue.Full, q.put, 0, False) is not None
    assert q.full() and q.qsize() == 2
    assert q.get() == 'hello' and q.get(timeout=5) == (1, [2.5]) and q.empty()
    assert raises(queue.Empty, q.get_nowait) is not None
    assert raises(queue.Empty, q.get, True, 0.02) is not None
    q.task_done()
    q.task_done()
    q.join()
    assert raises(ValueError, q.task_done)
    thread, result = in_thread(q.get)
    q.put(7)
    thread.join()
    assert result == [7]
    j = manager.JoinableQueue()
    j.put(1)
    thread, result = in_thread(j.join)
    assert j.get() == 1
    j.task_done()
    thread.join()


def locks(manager):
    lock = manager.Lock()
    assert lock.acquire() and not lock.acquire(False) and not lock.acquire(True, 0.02)
    thread, result = in_thread(lock.release)
    thread.join()
    with lock:
        thread, result = in_thread(lock.acquire, False)
        thread.join()
        assert result == [False]
    assert 'unlocked' in str(raises(RuntimeError, lock.release))
    again = manager.RLock()
    with again, again:
        thread, result = in_thread(again.acquire, False)
        thread.join()
        assert result == [False]
    thread, result = in_thread(again.acquire)
    thread.join()
    # Its thread has ended, and so has its connection: that gives it up.
    assert again.acquire(True, 20)
    again.release()
    raises(RuntimeError, again.release)
    permits = manager.BoundedSemaphore(2)
    assert permits.acquire() and permits.acquire() and not permits.acquire(False)
    permits.release()
    permits.release()
    raises(ValueError, permits.release)
    semaphore = manager.Semaphore(0)
    thread, result = in_thread(semaphore.acquire)
    semaphore.release()
    thread.join()
    assert result == [True]


def others(manager):
    event = manager.Event()
    assert not event.is_set() and not event.wait(0.02)
    thread, result = in_thread(event.wait)
    event.set()
    thread.join()
    assert result == [True] and event.is_set()
    event.clear()
    assert not event.is_set()
    condition = manager.Condition()
    ready = manager.Value('i', 0)

    def wait():
        with condition:
            return condition.wait_for(lambda: ready.value, 20)
    threads = [in_thread(wait) for _ in range(3)]
    with condition:
        assert condition.wait(0.02) is False
        ready.value = 5
        condition.notify()
        condition.notify_all()
    for thread, result in threads:
        thread.join()
        assert result == [5], result
    raises(RuntimeError, condition.notify)
    barrier = manager.Barrier(2)
    thread, result = in_thread(barrier.wait)
    mine = barrier.wait()
    thread.join()
    assert sorted([mine] + result) == [0, 1] and barrier.parties == 2 and barrier.n_waiting == 0
    raises(threading.BrokenBarrierError, barrier.wait, 0.02)
    assert barrier.broken
    barrier.reset()
    assert not barrier.broken
    barrier.abort()
    raises(threading.BrokenBarrierError, barrier.wait)
    space = manager.Namespace(x=1)
    space.y = [2]
    space._z = 3
    assert space.x == 1 and space.y == [2] and str(space) == 'Namespace(x=1, y=[2])', str(space)
    del space.x
    assert raises(AttributeError, lambda: space.x)
    value = manager.Value('d', 1.5)
    value.value = 2.5
    assert value.value == value.get() == 2.5 and 'Value' in str(value)
    array = manager.Array('i', [1, 2, 3])
    array[0] = -7
    assert array[0] == -7 and len(array) == 3 and list(array[1:]) == [2, 3] and array[1:].typecode == 'i'
    raises(OverflowError, array.__setitem__, 0, 2**40)
    raises(TypeError, array.__setitem__, 0, 'x')


def own(manager):
    maths = manager.Maths(10)
    assert maths.add(2, 3) == 15
    assert raises(ValueError, maths.fail, 'why').args == ('why',)
    assert 'panicked' in str(raises(RuntimeError, maths.panic))
    assert raises(TypeError, maths.add, 'x', 1)
    error = raises(RemoteError, manager.nosuch)
    assert "KeyError" in str(error) and 'nosuch' in str(error), error
    error = raises(RemoteError, maths._callmethod, 'nosuch')
    assert 'not in exposed' in str(error), error
    assert maths.same({1: [Ellipsis, int, Point(3)]}) == {1: [Ellipsis, int, Point(3)]}
    # One object for all.
    one, other = manager.shared(), manager.shared()
    assert one.count() + 1 == other.count() and one._id == other._id


class Point:
    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return type(other) is Point and self.x == other.x


def references(manager):
    before = manager._number_of_objects()
    kept = [manager.dict() for _ in range(5)]
    assert manager._number_of_objects() == before + 5
    assert manager._debug_info().count('refcount=1') >= 5
    del kept
    assert manager._number_of_objects() == before


def main():
    what, address, key = sys.argv[1:]
    current_process().authkey = bytes.fromhex(key)
    kind = QueueManager if what == 'put' or what == 'wait' else MyManager
    manager = kind(address=eval(address), authkey=bytes.fromhex(key))
    manager.connect()
    if what == 'shutdown':
        from multiprocessing.managers import dispatch
        connection = manager._Client(manager._address, authkey=manager._authkey)
        dispatch(connection, None, 'shutdown')
    elif what == 'wait':
        # In the manager of the test there is one queue for all.
        q = manager.Queue()
        print('waits', flush=True)
        print('got', q.get(), flush=True)
    else:
        for function in (dicts, lists, queues, locks, others, own, references):
            function(manager)
        print('fine', flush=True)


if __name__ == '__main__':
    main()
