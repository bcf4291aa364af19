# The same with shortcuts in codes: faster where integer kernels are very fast, and less accurate.
_base_ = "basicvsr_w8a8_ptq_vid4.py"
model = dict(shortcuts="codes")
