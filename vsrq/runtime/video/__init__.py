"""Video in, video out: sources, sinks and what keeps their clocks, colours and other streams together."""
