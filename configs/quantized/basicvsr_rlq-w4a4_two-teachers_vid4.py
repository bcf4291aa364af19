# Two teachers: first the 8-bit network, which is nearer, then the float one. Wants the 8-bit network's checkpoint:
# tools/train.py configs/quantized/basicvsr_w8a8_ptq_vid4.py
_base_ = "basicvsr_rlq-w4a4_qat_vid4.py"
model = dict(
    distill=dict(
        teachers=dict(
            float=dict(),
            w8a8=dict(
                quant=dict(weight=dict(bits=8), act=dict(bits=8), rules=_base_.quant_rules),
                checkpoint="work_dirs/basicvsr_w8a8_ptq_vid4/ptq.pth",
            ),
        ),
        losses=[
            dict(type="StateDistillation", teacher="w8a8", weight=0.01, schedule=[(0.0, 1.0), (0.5, 0.0)]),
            dict(type="StateDistillation", teacher="float", weight=0.01, schedule=[(0.0, 0.0), (0.5, 1.0)]),
            dict(type="OutputDistillation"),
        ],
    )
)
custom_hooks = [
    dict(type="CalibrationHook", max_clips=8),
    dict(type="FreezeHook", begin=1600, iters=None, freeze=["*quantizer*.factor"]),
    dict(type="DistillationHook"),
]
