# BasicVSR (official Vimeo-90K BI weights) with weights stored as NF4, scored on Vid4. Storage only: it computes in
# float. Needs no data; the rendered clips are there because every training loop has a data set.
_base_ = [
    "../_base_/models/basicvsr_c64n30.py",
    "../_base_/datasets/rendered_clips.py",
    "../_base_/datasets/vid4_bix4.py",
    "../_base_/schedules/ptq.py",
    "../_base_/default_runtime.py",
]
model = dict(
    _delete_=True,
    type="QuantizedVSR",
    architecture=_base_.model,
    float_checkpoint="data/weights/BasicVSR_Vimeo90K_BIx4.pth",
    nf4=dict(block=64, double=True),
)
train_cfg = dict(max_clips=1)
