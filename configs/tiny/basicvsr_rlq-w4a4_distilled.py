# For tests: two teachers with a schedule. model.float_checkpoint must be given.
_base_ = "basicvsr_rlq-w4a4_qat.py"
model = dict(
    float_checkpoint="work_dirs/tiny_basicvsr.pth",
    distill=dict(
        teachers=dict(float=dict(), other=dict()),
        losses=[
            dict(type="OutputDistillation"),
            dict(type="StateDistillation", teacher="other", weight=0.1, schedule=[(0.0, 1.0), (0.5, 0.0)]),
            dict(type="FlowDistillation", weight=0.1),
            dict(type="FeatureDistillation", layers=["conv_hr", "*_resblocks.main.2.0"], weight=0.1),
        ],
    ),
)
custom_hooks = [dict(type="CalibrationHook", max_clips=2), dict(type="DistillationHook")]
