# Fine-tuned at 4 bit under a float teacher: its frames, its recurrent state, its optical flow.
_base_ = "basicvsr_rlq-w4a4_qat_vid4.py"
model = dict(
    distill=dict(
        losses=[
            dict(type="OutputDistillation"),
            dict(type="StateDistillation", weight=0.01),
            dict(type="FlowDistillation", weight=0.001),
        ]
    )
)
