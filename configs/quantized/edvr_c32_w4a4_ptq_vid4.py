# The same at 4 bit.
_base_ = "edvr_c32_w8a8_ptq_vid4.py"
model = dict(quant=dict(weight=dict(bits=4), act=dict(bits=4)))
