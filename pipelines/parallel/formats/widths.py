"""Whether a wire width carries the sum of so many workers."""

from horovod_gq import GQConfig, num_levels
from horovod_gq.config import UNCOMPRESSED
from pipelines.errors import UserError


def check_width(wire_bits: int, workers: int, exchange: str, key: str = "wire_bits") -> None:
    """Raise UserError in one line, which names `key`, unless `wire_bits` carries the sum of so many workers."""
    try:
        num_levels(wire_bits, workers, exchange, key)
    except ValueError as error:
        raise UserError(f"methods.*.{key}: {error}") from None


def check_widths(config: GQConfig, workers: int) -> None:
    """Raise UserError in one line unless all widths that `config` uses carry the sum of so many workers."""
    used = {"wire_bits": config.wire_bits, "small_bits": config.small_bits}
    if config.form == "lowrank":
        used["factor_bits"] = config.factor_bits
    for key, width in used.items():
        if width != UNCOMPRESSED:
            check_width(width, workers, config.exchange, key)
