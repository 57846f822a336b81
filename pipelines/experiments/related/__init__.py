"""The further systems of the literature, compared on equal terms (`make related`)."""

from pipelines.experiments.related.config import RelatedConfig, RelatedSetConfig

__all__ = ["RelatedConfig", "RelatedSetConfig"]
