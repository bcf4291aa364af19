# The same with LSQ, for comparison.
_base_ = "basicvsr_rlq-w4a4_qat_vid4.py"
model = dict(quant=dict(weight=dict(type="LSQ"), act=dict(type="LSQ")))
