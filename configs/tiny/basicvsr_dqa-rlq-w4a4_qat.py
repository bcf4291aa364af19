# For tests: depth-dynamic training in two stages, from random weights.
_base_ = "basicvsr_rlq-w4a4_qat.py"
model = dict(architecture=dict(generator=dict(num_blocks=4)), depth=dict())
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={"shortcut": dict(lr_mult=10.0)}))
custom_hooks = [dict(type="CalibrationHook", max_clips=2), dict(type="DepthHook", begin=2)]
