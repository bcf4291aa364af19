# Depth-dynamic at 4 bit with RLQ: first all blocks learn with a scalar on each shortcut, then full, half and quarter
# depth together. Scored per depth by tools/benchmark.py depth; one depth: --cfg-options model.depth.use=half.
_base_ = "basicvsr_rlq-w4a4_qat_vid4.py"
model = dict(depth=dict())
# shortcuts start at 1 and few iterations are to tell them apart
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={"shortcut": dict(lr_mult=10.0)}))
custom_hooks = [
    dict(type="CalibrationHook", max_clips=8),
    dict(type="DepthHook", begin=600),
    dict(type="FreezeHook", begin=1600, iters=None, freeze=["*quantizer*.factor"]),
]
