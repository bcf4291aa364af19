# 4 bit after training with everything that needs no labels: equalised layers, blocks fitted to the float network's
# features with learned rounding, corrected biases.
_base_ = "basicvsr_w4a4_ptq_vid4.py"
train_cfg = dict(
    equalize=[dict(first="conv1", second="conv2"), dict(first="conv_hr", second="conv_last")],
    reconstruct=dict(blocks=["*_resblocks.main.2.*", "*_resblocks.main.0", "fusion", "upsample?", "conv_hr"]),
    correct_bias=True,
)
