# 4 bit with temporal residuals: the same BOPs as W4A4 per frame. Two passes: coefficients first, then their ranges.
_base_ = "edvr_c32_w4a4_ptq_vid4.py"
model = dict(residual=dict(weight=dict(bits=4), act=dict(bits=4)))
train_cfg = dict(passes=2)
