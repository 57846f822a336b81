"""The choice of a wire format for each bucket, by trial; what the strategy `auto` is made of."""
