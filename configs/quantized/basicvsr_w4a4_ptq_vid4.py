# The same at 4 bit.
_base_ = "basicvsr_w8a8_ptq_vid4.py"
clipped = [dict(pattern=trunk, act=dict(type="MSE")) for trunk in _base_.trunks]
model = dict(quant=dict(weight=dict(bits=4), act=dict(bits=4), rules=[*_base_.quant_rules, *clipped]))
