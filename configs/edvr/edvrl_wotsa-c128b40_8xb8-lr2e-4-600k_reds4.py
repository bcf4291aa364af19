_base_ = [
    "../_base_/models/edvr_l_wotsa.py",
    "../_base_/datasets/reds_window5.py",
    "../_base_/schedules/edvr_600k.py",
    "../_base_/default_runtime.py",
]

optim_wrapper = dict(optimizer=dict(lr=2e-4))
auto_scale_lr = dict(enable=False, base_batch_size=64)
