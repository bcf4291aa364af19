_base_ = [
    "../_base_/models/basicvsr_pp_c64n7.py",
    "../_base_/datasets/reds.py",
    "../_base_/schedules/basicvsr_pp_600k.py",
    "../_base_/default_runtime.py",
]

train_dataloader = dict(batch_size=1, dataset=dict(num_input_frames=30))
