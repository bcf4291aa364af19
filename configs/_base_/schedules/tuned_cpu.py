# Short fine-tuning of a quantized network on a CPU, from trained weights: an hour or two.
_base_ = "../default_runtime.py"
max_iters = 300
settle = 60  # last iterations, in which only the weights learn
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="Adam", lr=2e-4, betas=(0.9, 0.99)),
    paramwise_cfg=dict(custom_keys={"quantizer": dict(lr_mult=10.0), "spynet": dict(lr_mult=0.1)}),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", by_epoch=False, start_factor=0.1, begin=0, end=20),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=20, end=max_iters, T_max=max_iters - 20, eta_min=1e-6),
]
custom_hooks = [
    dict(type="StopAtNaNHook"),
    dict(type="ChannelsLastHook"),
    dict(type="CalibrationHook", max_clips=8),
    dict(type="FreezeHook", begin=max_iters - settle, iters=None, freeze=["*quantizer*.factor", "*quantizer*.offset"]),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=50, max_keep_ckpts=2))
visualizer = dict(type="Visualizer", vis_backends=[dict(type="TensorboardVisBackend")])
log_processor = dict(window_size=10)
randomness = dict(seed=0)
find_unused_parameters = True
