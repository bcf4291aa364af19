# basicvsr_mixed-16_tuned_vid4.py at 2 bit in all layers: less cannot be shared out. A recipe for long trainings: after
# 170 iterations the network was still 0.4 dB below bicubic interpolation.
_base_ = "basicvsr_mixed-16_tuned_vid4.py"
clipped = [dict(pattern=trunk, act=dict(observer=dict(type="MSE"))) for trunk in _base_.trunks]
model = dict(
    quant=dict(weight=dict(bits=2), act=dict(bits=2), rules=[*_base_.quant_rules, *clipped]),
)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
