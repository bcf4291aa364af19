# 4 bit, activations one bit more or less by layer and by clip, after QBasicVSR (NeurIPS 2025). The flow network, by
# which clips are told apart, keeps its bits.
_base_ = "basicvsr_w4a4_ptq_vid4.py"
model = dict(
    quant=dict(
        act=dict(adaptive=True),
        rules=[
            dict(pattern="spynet.basic_module.[01].*", quantize=False),
            dict(pattern="spynet.*", weight=dict(bits=8), act=dict(bits=8, adaptive=False)),
        ],
    ),
    adaptive=dict(layers=0.25, clips=0.25),
)
train_cfg = dict(max_clips=16)
