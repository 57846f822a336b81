"""The recognition study: tuning, comparison over seeds, learning curves and ablation (`make study`)."""

from pipelines.experiments.study.config import StudyConfig, StudyDataConfig

__all__ = ["StudyConfig", "StudyDataConfig"]
