# Fine-tuning at 4 bit, placed as basicvsr_rules.py says: LSQ steps per output channel, affine LSQ+ activations,
# taught by the float network alone.
_base_ = "basicvsr_rules.py"
tuned_quant = dict(
    weight=dict(type="LSQ", bits=4, axis=0, observer=dict(type="MSE")),
    act=dict(type="LSQPlus", bits=4, observer=dict(type="MinMax")),
    rules=_base_.quant_rules,
)
tuned_distill = dict(losses=[dict(type="OutputDistillation", eps=1e-4), dict(type="StateDistillation", weight=0.01)])
