# For tests: a policy chooses 8, 6 or 4 bit per frame, from random weights.
_base_ = "basicvsr_rlq-w4a4_qat.py"
model = dict(
    quant=dict(weight=dict(type="LSQ", bits=8, axis=0, policy=True), act=dict(type="LSQ", bits=8, policy=True)),
    policy=dict(widths=(8, 6, 4), budget=36, net=dict(channels=4)),
)
custom_hooks = [dict(type="CalibrationHook", max_clips=2), dict(type="PolicyHook", start=5.0, end=0.5)]
