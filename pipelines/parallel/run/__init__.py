"""One distributed run: its description, its launch by horovodrun, its workers, checkpoints and row."""
