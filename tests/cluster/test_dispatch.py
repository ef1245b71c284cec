"""Shards and their order, with workers that are functions."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.cluster.collecting_cache import CollectingCache
from engine.cluster.dispatch import TRIES, Dispatcher, Done, Lost
from engine.cluster.jobs import Answer, Job
from engine.photos.discovery import FoundFile
from engine.photos.photo_file import PhotoFile, read_photo
from tests.cluster.toys import Toy, capitals, make_files

NAMES = [f"{n:02d}" for n in range(20)]


class Workers:
    """A pool that answers the newest shard first. poison: names with which a worker ends."""

    workers, depth = 2, 2

    def __init__(self, answer=capitals, poison=()):
        self.answer, self.poison = answer, poison
        self.shards = []
        self.given = []

    def has_room(self, *, alone=False):
        return len(self.shards) < (1 if alone else self.workers * self.depth)

    def submit(self, shard, jobs, *, alone=False):
        assert self.has_room(alone=alone)
        self.shards.append((shard, jobs))
        self.given.append([j.file.path.name for j in jobs])

    def wait(self):
        shard, jobs = self.shards.pop()
        if any(j.file.path.name in self.poison for j in jobs):
            return [Lost(shard, at_work=True)]
        return [Done(shard, self.answer(jobs))]


def run(pool, files, task=None, **options):
    task = task or Toy()
    dispatcher = Dispatcher(pool, task, size=3, **options)
    return [result for results in dispatcher.run(map(task.begin, files)) for result in results]


def test_results_come_in_the_order_of_the_files(tmp_path):
    task = Toy(settled=("04", "05", "19"))
    results = run(Workers(), make_files(tmp_path, NAMES), task)
    assert results == [f"{n} known" if n in task.settled else n for n in NAMES]
    assert sorted(task.kept) == [n for n in NAMES if n not in task.settled]


def test_every_worker_gets_some_of_a_few_photos(tmp_path):
    pool = Workers()
    run(pool, make_files(tmp_path, NAMES[:4]))
    assert [len(names) for names in pool.given] == [2, 1, 1]


def test_no_shard_is_too_large_for_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("engine.cluster.dispatch.MOST_BYTES", 5)
    pool = Workers()
    run(pool, make_files(tmp_path, NAMES))
    assert max(len(names) for names in pool.given) == 2  # of two bytes each


def test_files_are_not_read_far_ahead_of_the_results(tmp_path):
    files, read = make_files(tmp_path, [f"{n:04d}" for n in range(500)]), []
    task = Toy()
    results = Dispatcher(Workers(), task, size=3).run(task.begin(read.append(f) or f) for f in files)
    done = len(next(results))
    assert len(read) - done <= 4 * 2 * 2 * 3


@pytest.mark.parametrize("settled", [(), ("00", "03", "04")])
def test_the_limit_counts_what_was_done(tmp_path, settled):
    pool = Workers()
    results = run(pool, make_files(tmp_path, NAMES), Toy(settled), limit=5)
    assert [r for r in results if "known" not in r] == [n for n in NAMES if n not in settled][:5]
    assert sum(map(len, pool.given)) == 5


def test_a_failed_photo_does_not_use_up_the_limit(tmp_path):
    files = make_files(tmp_path, NAMES)

    def answer(jobs):
        return [replace(a, result=a.result + " failed") if a.result == "01" else a for a in capitals(jobs)]

    assert run(Workers(answer), files, limit=4) == ["00", "01 failed", "02", "03", "04"]


def test_a_photo_that_is_there_twice_is_computed_once(tmp_path):
    pool = Workers()
    files = make_files(tmp_path, NAMES, {"09": "00", "17": "00"})
    results = run(pool, files)
    assert [n for n in results if "known" in n] == ["09 known", "17 known"]
    assert sorted(n for names in pool.given for n in names) == [n for n in NAMES if n not in ("09", "17")]


def test_a_lost_shard_is_done_again(tmp_path):
    class DiesOnce(Workers):
        def wait(self):
            if len(self.given) == 4:
                lost = [Lost(shard, at_work=n == 0) for n, (shard, _) in enumerate(self.shards)]
                self.shards = []
                return lost
            return super().wait()

    pool = DiesOnce()
    assert run(pool, make_files(tmp_path, NAMES)) == NAMES
    assert len(pool.given) > 4


def test_a_photo_that_ends_workers_fails_alone(tmp_path):
    pool = Workers(poison=("07",))
    results = run(pool, make_files(tmp_path, NAMES, {"12": "07"}))
    assert results == [f"{n} failed" if n in ("07", "12") else n for n in NAMES]
    assert sum("07" in names for names in pool.given) == TRIES + 1


def test_a_shard_that_waited_is_not_blamed(tmp_path):
    class Unlucky(Workers):
        def wait(self):
            if len(self.given) < 30:
                shard, _ = self.shards.pop()
                return [Lost(shard, at_work=False)]
            return super().wait()

    assert run(Unlucky(), make_files(tmp_path, NAMES)) == NAMES


def test_a_file_that_a_worker_cannot_see_is_sent(tmp_path):
    def blind(jobs):
        return [Answer(None) if j.data is None else Answer(j.data.decode()) for j in jobs]

    assert run(Workers(blind), make_files(tmp_path, NAMES)) == NAMES


def test_all_bytes_are_sent_where_that_is_asked_for(tmp_path):
    def sent(jobs):
        return [Answer(j.data.decode()) for j in jobs]

    assert run(Workers(sent), make_files(tmp_path, NAMES[:5]), ship_bytes=True) == NAMES[:5]


def test_a_file_that_changed_during_the_run_fails_and_its_doubles_do_not(tmp_path):
    files = make_files(tmp_path, NAMES[:4], {"03": "01"})
    task = Toy()

    def steps():
        for file in files:
            yield task.begin(file)
        files[1].write_text("other")

    results = [r for rs in Dispatcher(Workers(), task, size=3, ship_bytes=True).run(steps()) for r in rs]
    assert results == ["00", "01 failed", "02", "03"]


def test_another_file_at_the_same_path_is_not_taken_for_the_photo(tmp_path):
    (path,) = make_files(tmp_path, ["a"])
    job = Job.of(FoundFile(path, "photo"), read_photo(path), None, {})
    assert job.open().data == b"a"
    path.write_text("another")
    assert job.open() is None
    path.unlink()
    assert job.open() is None


def test_the_decoder_sees_the_path_that_the_user_gave(tmp_path, monkeypatch):
    make_files(tmp_path, ["a"])
    monkeypatch.chdir(tmp_path)
    job = Job.of(FoundFile(Path("a"), "photo"), read_photo(Path("a")), None, {})
    monkeypatch.chdir("/")
    assert job.open() == PhotoFile(Path("a"), b"a", job.content_hash)


def test_a_workers_cache_returns_what_is_new():
    cache = CollectingCache()
    job = Job(FoundFile(Path("a"), "photo"), "hash", 1, None, {"faces": {"x": 1}})
    cache.begin([job])
    assert cache.has_any("hash", ["faces", "regions"]) and not cache.has_any("hash", ["regions"])
    cache.save("regions", [("hash", {"y": 2})])
    assert cache.load("hash", "regions") == {"y": 2}
    assert cache.collected("hash") == {"regions": {"y": 2}}
    cache.begin([])
    assert cache.load("hash", "regions") is None and cache.collected("hash") == {}
