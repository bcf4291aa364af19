# 8 bit, recurrent features stored in 8 bit as well.
_base_ = "basicvsr_w8a8_ptq_vid4.py"
model = dict(state=dict(bits=8, granularity="frame"))
