"""The Python side of python_remote_queue.rs: stock code."""
import queue
import sys
import threading
from multiprocessing.managers import BaseManager

KEY = b'abracadabra'


class QueueManager(BaseManager):
    pass


if sys.argv[1] == 'use':
    QueueManager.register('get_tasks')
    QueueManager.register('get_results')
    manager = QueueManager(address=('127.0.0.1', int(sys.argv[2])), authkey=KEY)
    manager.connect()
    tasks, results = manager.get_tasks(), manager.get_results()
    tasks.put('hello')
    while True:
        task = tasks.get()
        if isinstance(task, dict):
            break
        tasks.put(task)  # for the worker
    results.put(task['n'] ** 2)
else:
    tasks, results = queue.Queue(), queue.Queue()
    QueueManager.register('get_tasks', callable=lambda: tasks)
    QueueManager.register('get_results', callable=lambda: results)
    server = QueueManager(address=('127.0.0.1', 0), authkey=KEY).get_server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.address[1], flush=True)
    while True:
        task = tasks.get()
        if task is None:
            break
        results.put(task * task)
