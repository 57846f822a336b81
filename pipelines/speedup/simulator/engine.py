"""The simulation: clocks of N workers and of the library's one thread, event after event.

All workers run the same program, so an event (a gradient bucket is full, a collective starts or ends, a result is
needed) is handled for all of them at once: their clocks are a vector. A collective starts when the last worker is
ready and the one before has ended, since the library carries one at a time, in the same order everywhere.

Monotone by construction: clocks are moved by sums and maxima of non-negative times alone. So more bandwidth, less
latency or a cheaper codec never lengthens a step (but where the library shares the workers' cores, `core_share`: a
sum that travels earlier then disturbs more of the backward pass). The price is that Horovod's cycle is a mean wait
instead of a clock's ticks, and that fusion is ideal: a sum that finds the library busy pays for its bytes alone.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from pipelines.parallel.patterns import Apply, Message, Number, Pattern, Start
from pipelines.speedup.simulator.machine import Machine
from pipelines.speedup.simulator.network import Network, Values, message_seconds
from pipelines.speedup.simulator.program import Program

Clock = NDArray[np.float64]
"""Seconds, [cases, workers] of the workers or [cases, 1] of the library."""


def simulate(
    program: Program,
    network: Network,
    machine: Machine,
    *,
    steps: int,
    warmup_steps: int = 0,
    flush: bool = False,
    scale: Values = 1.0,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return the mean seconds of a step, [cases].

    Args:
        program: what every worker does.
        network: links; its numbers, those of `machine` and `scale` may be arrays [cases, 1], simulated at once.
        machine: costs beside the wire.
        steps: that count; whole intervals.
        warmup_steps: before them, so that what is under way from step to step is; whole intervals, too.
        flush: whether all that was sent is waited for and applied within these steps, as in a block of the sweep.
        scale: all of the program's times are multiplied by it.
        seed: of the stragglers' draws.
    """
    if network.workers == 1:
        alone = program.forward + program.backward + program.update
        return np.atleast_1d(np.squeeze(np.asarray(scale * alone, dtype=np.float64)))
    run = _Run(program, network, machine, scale, steps + warmup_steps, seed)
    for step in range(warmup_steps):
        run.step(step)
    before = run.workers.max(axis=-1)
    for step in range(warmup_steps, warmup_steps + steps):
        run.step(step)
    if flush:
        run.flush()
    end = run.workers.max(axis=-1)
    with np.errstate(invalid="ignore"):
        # On a link that carries nothing the first step never ends.
        return np.where(np.isinf(end), np.inf, (end - before) / steps)


def draw_slowdowns(steps: int, workers: int, sigma: Values, seed: int) -> NDArray[np.float64]:
    """Return log-normal factors of mean 1, [cases, steps, workers]: stratified draws, so that few steps will do."""
    count = steps * workers
    quantiles = (np.random.default_rng(seed).permutation(count) + 0.5) / count
    normal = ndtri(quantiles).reshape(steps, workers)
    spread = np.atleast_1d(np.squeeze(np.asarray(sigma, dtype=np.float64)))[:, None, None]
    return np.asarray(np.exp(spread * normal - spread**2 / 2))


def _end(begin: Clock, alone: Values, beside: Values, busy_until: Clock) -> Clock:
    """Return when the library has done what takes it `alone` seconds, or `beside` a worker who computes until then."""
    window = np.maximum(busy_until - begin, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        late = window + (1.0 - window / beside) * alone
    return np.asarray(begin + np.where(window >= beside, beside, late))


@dataclass
class _Cost:
    """What a message takes, computed once: seconds before it moves, on the wire, and of the processor."""

    start: Values
    latency: Values
    transfer: Values
    processor: Values
    fuses: bool


class _Run:
    """The state of one simulation."""

    def __init__(
        self, program: Program, network: Network, machine: Machine, scale: Values, steps: int, seed: int
    ) -> None:
        self.program, self.network, self.machine, self.scale = program, network, machine, scale
        self.pattern: Pattern = program.pattern
        self.slowdowns = draw_slowdowns(steps, network.workers, machine.straggler_sigma, seed)
        self.costs = [[self._cost(message) for message in each.rounds] for each in program.exchanges]
        code = scale * machine.codec_factor
        self.encode = [code * seconds for seconds in program.encode]
        self.decode = [code * seconds for seconds in program.decode]
        self.handling = [self._handling(exchange) for exchange in range(len(program.exchanges))]
        shape = np.broadcast_shapes(
            *(
                np.shape(each)
                for each in (scale, network.bandwidth, network.latency, *vars(machine).values())
            ),
            (1, 1),
        )
        self.workers: Clock = np.zeros((shape[0], network.workers))
        self.library: Clock = np.zeros((shape[0], 1))
        self.pending: dict[int, Clock] = {}
        """Arrival of exchanges that a module of the next forward pass waits for."""
        self.queue: deque[list[Clock]] = deque()
        """Arrivals of the steps whose sums are applied later."""

    def step(self, number: int) -> None:
        """Let every worker make a step."""
        slow = self.scale * self.slowdowns[:, number]
        self._forward(slow)
        if (number + 1) % self.pattern.interval:
            self._compute(self.program.backward + self.program.update, slow)
            return
        arrivals = self._backward(slow)
        if self.pattern.apply is Apply.MODULE:
            self.pending = dict(enumerate(arrivals))
            return
        if self.pattern.staleness:
            self.queue.append(arrivals)
            if len(self.queue) <= self.pattern.staleness:
                return
            arrivals = self.queue.popleft()
        self._receive(arrivals)
        self._compute(self.program.update, slow)

    def flush(self) -> None:
        """Wait for what is under way and apply it."""
        for exchange in list(self.pending):
            self._apply(exchange, self.scale)
        while self.queue:
            self._receive(self.queue.popleft())
            self._compute(self.program.update, self.scale)

    def _compute(self, seconds: float, slow: Values) -> None:
        self.workers = self.workers + seconds * slow

    def _forward(self, slow: Values) -> None:
        passed = 0.0
        for gap, exchange in self.program.needs if self.pending else ():
            self._compute(gap, slow)
            passed += gap
            self._apply(exchange, slow)
        self._compute(self.program.forward - passed, slow)

    def _apply(self, exchange: int, slow: Values) -> None:
        """Wait for an exchange and update its tensors."""
        arrival = self.pending.pop(exchange)
        share = self.program.update / len(self.program.exchanges)
        self.workers = np.maximum(self.workers, arrival) + self.decode[exchange] + share * slow

    def _backward(self, slow: Values) -> list[Clock]:
        """Compute, encode and send; return when the last round of each exchange has arrived."""
        pattern, passed = self.pattern, 0.0
        arrivals = [self.library] * len(pattern.exchanges)
        goes_on = self._computing_after_backward() * slow
        for gap, exchange in self.program.sends:
            self._compute(gap, slow)
            passed += gap
            left = (self.program.backward - passed) * slow + goes_on
            arrivals[exchange] = self._send(exchange, 0, left)
        self._compute(self.program.backward - passed, slow)
        if pattern.start is Start.STEP:
            for exchange in range(len(arrivals)):
                arrivals[exchange] = self._send(exchange, 0, goes_on)
        for exchange, costs in enumerate(self.costs):
            for number in range(1, len(costs)):
                self.workers = np.maximum(self.workers, arrivals[exchange])
                arrivals[exchange] = self._send(exchange, number, goes_on)
        return arrivals

    def _send(self, exchange: int, number: int, left: Values) -> Clock:
        """Encode a round and hand it over; return when it has arrived. The worker has `left` to compute meanwhile."""
        cost = self.costs[exchange][number]
        coding = self.encode[exchange] / len(self.costs[exchange])
        self.workers = self.workers + coding + (self.handling[exchange] if number == 0 else 0.0)
        ready = self.workers.max(axis=-1, keepdims=True) + cost.start
        begin = np.maximum(self.library, ready + cost.latency if cost.fuses else ready)
        wire = cost.transfer if cost.fuses else cost.latency + cost.transfer
        beside = wire / self.machine.wire_rate + cost.processor / self.machine.overlap_rate
        busy_until = (self.workers + left).max(axis=-1, keepdims=True)
        self.library = _end(begin, wire + cost.processor, beside, busy_until)
        if np.any(self.machine.core_share):
            self.workers = self.workers + self._taken(cost, begin, self.workers + left)
        return self.library

    def _taken(self, cost: "_Cost", begin: Clock, busy_until: Clock) -> Clock:
        """Return the computing time that the library takes from a worker who computes until `busy_until`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            during = np.clip((busy_until - begin) / (self.library - begin), 0.0, 1.0)
        return np.asarray(self.machine.core_share * cost.processor * np.nan_to_num(during))

    def _computing_after_backward(self) -> float:
        """Return the seconds for which a worker computes after the backward pass before it must wait for a sum.

        With layer-wise updates it is about none: the first layers' sums are the last to be sent.
        """
        return self.program.forward + self.program.backward if self.pattern.staleness else 0.0

    def _receive(self, arrivals: list[Clock]) -> None:
        """Wait for all exchanges of a step and decode them."""
        for exchange, arrival in enumerate(arrivals):
            self.workers = np.maximum(self.workers, arrival) + self.decode[exchange]

    def _handling(self, exchange: int) -> Values:
        """Return what an exchange costs the main thread beside its codec: hooks, and gradients that stay in place."""
        if self.pattern.one_message_a_tensor:
            return self.machine.tensor_seconds
        if self.pattern.start is Start.STEP:
            return 0.0
        hooks = self.machine.hook_seconds * len(self.program.exchanges[exchange].tensors)
        return hooks + self.machine.view_seconds_per_byte * self.program.num_bytes[exchange]

    def _cost(self, message: Message) -> _Cost:
        machine, network = self.machine, self.network
        latency, transfer = message_seconds(message, network)
        gathered = message.number is Number.BYTES
        if gathered and network.workers == 2:
            transfer = transfer * machine.pair_factor
        sent = message.sent_bytes(network.workers)
        return _Cost(
            start=machine.cycle_share * machine.cycle_seconds
            + machine.message_seconds
            + 2 * (network.workers - 1).bit_length() * network.hop,
            latency=latency,
            transfer=transfer / machine.efficiency,
            processor=machine.seconds_per_byte(message.number) * sent,
            fuses=not gathered,
        )
