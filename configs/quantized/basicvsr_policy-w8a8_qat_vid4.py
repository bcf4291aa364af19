# A small network chooses 8, 6 or 4 bit for each frame, 30 bit operations per multiply-accumulate on average, after
# VideoIQ (ICCV 2021). Weights are stored once, in 8 bit, of which lower widths are the high bits. The flow network
# keeps its bits. One width for all frames, for comparison: --cfg-options model.policy.use=6.
_base_ = "basicvsr_lsq-w4a4_qat_vid4.py"
fixed = dict(bits=8, policy=False)
model = dict(
    quant=dict(
        weight=dict(bits=8, policy=True),
        act=dict(bits=8, policy=True),
        rules=[
            dict(pattern="spynet.basic_module.[01].*", quantize=False),
            dict(pattern="spynet.*", weight=fixed, act=fixed),
        ],
    ),
    policy=dict(widths=(8, 6, 4), budget=30),
)
# the policy starts from random weights
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={"bit_policy": dict(lr_mult=10.0)}))
custom_hooks = [
    dict(type="CalibrationHook", max_clips=8),
    dict(type="PolicyHook", start=5.0, end=0.5),
    dict(type="FreezeHook", begin=1600, iters=None, freeze=["*quantizer*.factor"]),
]
