# basicvsr_mixed-16_tuned_vid4.py at 2 bit in all layers: less cannot be shared out. Ranges of least squared error:
# over the extremes the output rounds to 0, and 170 iterations did not revive it.
_base_ = "basicvsr_mixed-16_tuned_vid4.py"
flow = dict(pattern="spynet.*", weight=dict(bits=8), act=dict(bits=8, observer=dict(type="MinMax")))
model = dict(
    quant=dict(
        weight=dict(bits=2),
        act=dict(bits=2, observer=dict(type="MSE")),
        rules=[_base_.quant_rules[0], flow],
    ),
)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
