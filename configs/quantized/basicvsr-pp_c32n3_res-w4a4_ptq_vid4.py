# 4 bit with temporal residuals: the same BOPs as W4A4 per frame. Two passes: coefficients first, then their ranges.
_base_ = "basicvsr-pp_c32n3_w4a4_ptq_vid4.py"
model = dict(residual=dict(weight=dict(bits=4), act=dict(bits=4), rules=_base_.residual_rules))
train_cfg = dict(passes=2)
