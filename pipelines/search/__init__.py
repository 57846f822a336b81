"""Architecture search: encodings, evolutionary operators, and one engine with cache, budget and resumption.

An algorithm is a generator: it yields the names of networks and is sent their fitness. It draws from a generator of its
own and from nothing else, so a search is a function of its seed and of the fitness of networks: what a journal on disk
holds is not trained again, and a search that is started anew after a kill runs through the journal to where it was.
"""

from pipelines.search.config import SearchConfig
from pipelines.search.engine import Found, Search, SearchRun, run_searches
from pipelines.search.fitness import Fitness, Proposals
from pipelines.search.journal import Journal

__all__ = [
    "Fitness",
    "Found",
    "Journal",
    "Proposals",
    "Search",
    "SearchConfig",
    "SearchRun",
    "run_searches",
]
