import threading

from fullframe.view.job_queue import Queue, QueuedJob


def test_one_at_a_time_in_order_with_queue_positions():
    queue, running, done, places = Queue(), threading.Semaphore(0), [], {}
    gates = [threading.Event() for _ in range(4)]
    finished = threading.Event()

    def job(k: int) -> QueuedJob:
        def run() -> None:
            running.release()
            assert gates[k].wait(10)
            done.append(k)
            if k == 3:
                finished.set()

        return QueuedJob(run, lambda place: places.setdefault(k, []).append(place))

    jobs = [job(k) for k in range(4)]
    for each in jobs:
        queue.add(each)
    assert running.acquire(timeout=10)
    assert not running.acquire(timeout=0.05)  # the second waits for the first
    queue.remove(jobs[2])
    queue.remove(jobs[0])  # is running already and continues
    gates[0].set()
    assert running.acquire(timeout=10)
    gates[1].set()
    gates[3].set()
    assert finished.wait(10)
    assert done == [0, 1, 3]
    # Before it: 0, 1 and 2; then without 2; then without 0.
    assert places[3][0] == 3 and places[3][-1] == 1
    assert places[3] == sorted(places[3], reverse=True)
    queue.close(timeout=5)


def test_closing_drops_waiting_jobs():
    queue, gate, started, done = Queue(), threading.Event(), threading.Event(), []

    def first() -> None:
        started.set()
        gate.wait(10)
        done.append("first")

    queue.add(QueuedJob(first, lambda place: None))
    queue.add(QueuedJob(lambda: done.append("second"), lambda place: None))
    assert started.wait(10)
    threading.Timer(0.05, gate.set).start()
    queue.close(timeout=10)
    assert done == ["first"]
