"""The demo: official weights, real clips, one honest table."""
