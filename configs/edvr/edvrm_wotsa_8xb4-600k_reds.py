_base_ = [
    "../_base_/models/edvr_m_wotsa.py",
    "../_base_/datasets/reds_window5.py",
    "../_base_/schedules/edvr_600k.py",
    "../_base_/default_runtime.py",
]

train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(enable=False, base_batch_size=32)
