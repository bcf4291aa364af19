# For tests: the whole post-training recipe, from random weights.
_base_ = "basicvsr_res-w4a4_ptq.py"
model = dict(residual=None)
train_cfg = dict(
    passes=1,
    equalize=[dict(first="conv1", second="conv2")],
    reconstruct=dict(blocks=["*_resblocks.main.2.*", "conv_hr"], iters=5, max_calls=4),
    correct_bias=True,
)
