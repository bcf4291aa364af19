from vsrq.compat import ensure_mmagic

ensure_mmagic()  # before any test module imports mmagic itself
