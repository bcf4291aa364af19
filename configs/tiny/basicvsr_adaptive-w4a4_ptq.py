# For tests: bits that follow layers and clips, from random weights.
_base_ = "basicvsr_res-w4a4_ptq.py"
model = dict(residual=None, quant=dict(act=dict(adaptive=True)), adaptive=dict(layers=0.25, clips=0.25, pairs=2))
train_cfg = dict(max_clips=3, passes=1)
