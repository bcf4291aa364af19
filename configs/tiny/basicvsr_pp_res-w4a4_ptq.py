# For tests: post-training quantization with temporal residuals, from random weights.
_base_ = [
    "../_base_/models/basicvsr_pp_tiny.py",
    "../_base_/datasets/clip_folders.py",
    "../_base_/schedules/ptq.py",
    "../_base_/default_runtime.py",
]
model = dict(
    _delete_=True,
    type="QuantizedVSR",
    architecture=_base_.model,
    quant=dict(weight=dict(bits=4), act=dict(bits=4), rules=[dict(pattern="spynet.*", quantize=False)]),
    residual=dict(weight=dict(bits=4), act=dict(bits=4)),
)
train_cfg = dict(max_clips=2, passes=2)
# the first three calls of each layer are key frames: clips must be longer to show a residual
train_dataloader = dict(dataset=dict(num_input_frames=5))
