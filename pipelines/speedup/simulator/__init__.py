"""Discrete-event simulation of training steps on N workers."""

from pipelines.speedup.simulator.engine import simulate
from pipelines.speedup.simulator.machine import IDEAL, Machine
from pipelines.speedup.simulator.network import Algorithm, Network
from pipelines.speedup.simulator.program import Program, build_program

__all__ = ["IDEAL", "Algorithm", "Machine", "Network", "Program", "build_program", "simulate"]
