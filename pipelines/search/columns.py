"""What tables show of a search."""

from pipelines.tables import Column, count, percent, seconds

SEARCH_COLUMNS = (
    Column("search_accuracy", "fitness of the best", percent),
    Column("search_evaluations", "networks judged", count),
    Column("search_hits", "asked for again", count),
    Column("search_seconds", "judging", seconds),
)
