"""Command of `make related`: name the stages of experiments/related/dvc.yaml that belong to one system.

Prints nothing without a system: then the whole pipeline is run.
"""

from pipelines.command_line import add_params, stage_parser
from pipelines.config import load_section
from pipelines.entry import run_stage
from pipelines.experiments.related import RelatedConfig
from pipelines.experiments.related.systems import load_system


def main() -> None:
    """Print the stages in one line."""
    parser = stage_parser(__doc__)
    parser.add_argument("--system", help="a key of related.systems, such as dacnn")
    add_params(parser)
    arguments = parser.parse_args()
    if arguments.system:
        config = load_section(RelatedConfig, "related", arguments.params)
        system = load_system(config, arguments.system, arguments.params)
        if system.name in config.codecs:
            print(*(f"codec@{system.name}-{data}" for data in system.data_sets))
        else:
            print(*(f"{data}@{system.name}" for data in system.data_sets))


if __name__ == "__main__":
    run_stage(main)
