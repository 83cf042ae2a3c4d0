"""Several hosts: torch's rendezvous says who is there, and a store that all reach holds what they say to each other.

static: hosts are numbered by node_rank and all must be there. c10d: they number themselves, may come later, and one
that stays away is left out as long as enough remain. torch is loaded here, in the launcher: it waits in threads, so
that Ctrl-C is heard meanwhile.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, TypeVar

from tunesmith import log
from tunesmith.errors import RunError
from tunesmith.launch.gathering import Place, Record, Verdict, find_free_port, verdict_from_json
from tunesmith.launch.plan import Meeting
from tunesmith.launch.stopping import StopSignals

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store
    from torch.distributed.elastic.rendezvous import RendezvousHandler

Result = TypeVar("Result")

_COME_S = 900
"""How long hosts wait for each other, torchrun's figure."""
_LAST_CALL_S = 15
"""How long a number of hosts that is enough waits for more."""
_LOOK_S = 0.3
_JOINING_S = 5.0
"""How often a host looks whether others want to join."""
_END_S, _SEEN_S = 600.0, 20.0
"""How long a host that is done waits for the others; and for them to have read how the run ended."""
_POLL_S = 0.05


class Together:
    """See Gathering: this host among others."""

    def __init__(self, meeting: Meeting, num_processes: int, stop: StopSignals) -> None:
        self._meeting = meeting
        self._num_local = num_processes
        self._stop = stop
        self._handler: RendezvousHandler | None = None
        self._round: _Round | None = None

    def join(self, record: Record) -> Place:
        """See Gathering."""
        meeting = self._meeting
        log.info(f"waiting for the other hosts at {meeting.address}:{meeting.port}")
        try:
            return _in_thread(lambda: self._join(record), self._stop)
        except _store_errors() as error:
            raise RunError(
                f"the hosts did not meet at {meeting.address}:{meeting.port} within {_COME_S} s "
                f"({str(error).strip().partition(chr(10))[0] or type(error).__name__}); look whether all of them were "
                "started with the same nnodes, master_addr, master_port and rdzv_id, and reach that port"
            ) from error

    def announced(self) -> Verdict | None:
        """See Gathering."""
        return self._here.announced()

    def announce(self, verdict: Verdict) -> Verdict:
        """See Gathering."""
        try:
            return _in_thread(lambda: self._here.announce(verdict), StopSignals())
        except _store_errors():
            return verdict  # nobody is left to agree with

    def finish(self) -> Verdict | None:
        """See Gathering."""
        return self._here.finish(self._stop)

    def leave(self) -> None:
        """See Gathering."""
        if self._round is not None:
            self._round.leave()
        if self._handler is not None:
            _quietly(self._handler.shutdown)

    @property
    def _is_static(self) -> bool:
        return self._meeting.backend == "static"

    @property
    def _here(self) -> _Round:
        assert self._round is not None, "join comes first"
        return self._round

    def _join(self, record: Record) -> Place:
        if self._round is not None:
            self._round.leave()
        if self._handler is None:
            self._handler = _build_handler(self._meeting)
        met = self._handler.next_rendezvous()
        told = met.bootstrap_store_info
        address = self._meeting.address if told is None else told.master_addr
        self._round = _Round(met.store, met.rank, met.world_size, joining=self._joining, is_static=self._is_static)
        return self._round.take_place(record, num_local=self._num_local, address=address)

    def _joining(self) -> int:
        """How many hosts wait to be let in."""
        return self._handler.num_nodes_waiting() if self._handler and self._meeting.is_elastic else 0


class _Round:
    """One attempt of all hosts, as keys in their store.

    c10d gives every round a store of its own. The static one stays the same, so keys begin with the attempt's number;
    a launcher that was started again on its host takes the first attempt that it has not taken part in.
    """

    def __init__(self, store: Store, rank: int, num_hosts: int, *, joining: Callable[[], int], is_static: bool) -> None:
        self._store = store
        self._rank = rank
        self._num_hosts = num_hosts
        self._prefix = ""
        self._joining = joining
        self._is_static = is_static
        self._verdict: Verdict | None = None
        self._lost: Exception | None = None
        self._over = threading.Event()

    def take_place(self, record: Record, *, num_local: int, address: str) -> Place:
        """Tell the others what is here, and read what is there; begin to look for verdicts."""
        record = self._enter(record, num_local)
        if self._rank == 0:
            self._set("place", json.dumps([address, find_free_port()]))
        hosts = [json.loads(self._get(f"host-{rank}")) for rank in range(self._num_hosts)]
        sizes = [host["size"] for host in hosts]
        address, port = json.loads(self._get("place"))
        known = max((Record(**host["record"]) for host in hosts), key=lambda kept: kept.attempt)
        threading.Thread(target=self._look, name="other hosts", daemon=True).start()
        return Place(sum(sizes[: self._rank]), sum(sizes), self._rank, self._num_hosts, address, port, known)

    def _enter(self, record: Record, num_local: int) -> Record:
        """Say that this host is here; the record of the attempt that it takes part in."""
        while True:
            self._prefix = f"tunesmith/{record.attempt}/" if self._is_static else "tunesmith/"
            own = json.dumps({"size": num_local, "record": asdict(record), "launcher": uuid.uuid4().hex})
            if self._store.compare_set(f"{self._prefix}host-{self._rank}", "", own).decode() == own:
                return record
            record = replace(record, attempt=record.attempt + 1)

    def announced(self) -> Verdict | None:
        """What the looking thread found. Raises RunError if the store is gone."""
        if self._lost is not None and self._verdict is None:
            raise RunError(
                "the launcher of the host where all meet is gone, or cannot be reached any more; start the run again "
                "on all hosts with resume_from_checkpoint: true"
            )
        return self._verdict

    def announce(self, verdict: Verdict) -> Verdict:
        """The first to write the key wins."""
        text = self._store.compare_set(self._prefix + "verdict", "", verdict.to_json()).decode()
        return verdict_from_json(text)

    def finish(self, stop: StopSignals) -> Verdict | None:
        """Wait until all hosts are done, or one announces that it failed."""
        if self._lost is not None:
            return None
        _quietly(lambda: self._set(f"done-{self._rank}", "1"))
        deadline = time.monotonic() + _END_S
        while time.monotonic() < deadline and self._lost is None and not stop.urgent:
            if self._verdict is not None:
                return self._verdict
            if self._all("done"):
                return None
            time.sleep(_LOOK_S)
        return None  # whoever is left ends by itself; here all went well

    def leave(self) -> None:
        """Stay until the others have read how it ended: the store may be this process's."""
        deadline = time.monotonic() + _SEEN_S
        if self._verdict is not None or self._exists("verdict"):
            while time.monotonic() < deadline and self._lost is None and not self._all("seen"):
                time.sleep(_POLL_S)
        elif self._rank == 0:
            time.sleep(2 * _LOOK_S)  # the others look whether all are done
        self._over.set()

    def _look(self) -> None:
        """In a thread: wait for a verdict, and on the first host for hosts that want to join."""
        next_joining = time.monotonic() + _JOINING_S
        try:
            while not self._over.wait(_LOOK_S):
                if self._exists("verdict"):
                    self._verdict = verdict_from_json(self._get("verdict"))
                    self._set(f"seen-{self._rank}", "1")
                    return
                if self._rank == 0 and time.monotonic() > next_joining:
                    next_joining = time.monotonic() + _JOINING_S
                    if self._joining():
                        self.announce(Verdict(None, again=True))
        except _store_errors() as error:
            self._lost = error

    def _all(self, key: str) -> bool:
        try:
            return bool(self._store.check([f"{self._prefix}{key}-{rank}" for rank in range(self._num_hosts)]))
        except _store_errors() as error:
            self._lost = error
            return False

    def _exists(self, key: str) -> bool:
        return bool(self._store.check([self._prefix + key]))

    def _get(self, key: str) -> str:
        return bytes(self._store.get(self._prefix + key)).decode()

    def _set(self, key: str, value: str) -> None:
        self._store.set(self._prefix + key, value)


def _build_handler(meeting: Meeting) -> RendezvousHandler:
    with _silent_torch():
        from torch.distributed.elastic.rendezvous import RendezvousParameters
        from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler
    waits = {"timeout": _COME_S, "join_timeout": _COME_S, "last_call_timeout": _LAST_CALL_S, "read_timeout": 60}
    settings: dict[str, object] = {**waits}
    if meeting.host_rank is not None:
        settings |= {"rank": meeting.host_rank, "is_host": meeting.host_rank == 0}
    return get_rendezvous_handler(
        RendezvousParameters(
            backend=meeting.backend,
            endpoint=f"{meeting.address}:{meeting.port}",
            run_id=meeting.job,
            min_nodes=meeting.least,
            max_nodes=meeting.most,
            local_addr=meeting.address if meeting.host_rank == 0 else None,
            **settings,
        )
    )


@contextmanager
def _silent_torch() -> Iterator[None]:
    """Its C++ parts tell of every try to reach a host with a trace of calls; what matters comes as an exception.

    They read the variable when they are loaded. The processes started later do not inherit it.
    """
    name, before = "TORCH_CPP_LOG_LEVEL", os.environ.get("TORCH_CPP_LOG_LEVEL")
    os.environ.setdefault(name, "FATAL")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)


def _store_errors() -> tuple[type[Exception], ...]:
    from torch.distributed import DistError
    from torch.distributed.elastic.rendezvous import RendezvousError

    return (DistError, RendezvousError, RuntimeError, OSError)


def _quietly(action: Callable[[], object]) -> None:
    """At the end others may be gone already."""
    try:
        action()
    except _store_errors():
        return


def _in_thread(action: Callable[[], Result], stop: StopSignals) -> Result:
    """The result of what blocks in compiled code. Raises KeyboardInterrupt if the run is to stop meanwhile."""
    results: list[Result] = []
    errors: list[Exception] = []

    def act() -> None:
        try:
            results.append(action())
        except Exception as error:  # noqa: BLE001 - it is raised again where it is waited for
            errors.append(error)

    thread = threading.Thread(target=act, name="meeting", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_POLL_S)
        if stop.requested:
            raise KeyboardInterrupt
    if errors:
        raise errors[0]
    return results[0]
