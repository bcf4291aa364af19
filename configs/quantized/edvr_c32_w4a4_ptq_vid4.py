# The same at 4 bit.
_base_ = "edvr_c32_w8a8_ptq_vid4.py"
# it pays to clip inside residual blocks, where an identity runs beside the layer, and nowhere else
clipped_trunks = [dict(pattern="reconstruction.*", act=dict(type="MSE"))]
model = dict(quant=dict(weight=dict(bits=4), act=dict(bits=4), rules=clipped_trunks))
