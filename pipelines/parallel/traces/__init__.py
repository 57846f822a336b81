"""Traces of training steps and codecs, recorded by the distributed runs; files of them, also for Perfetto."""
