# basicvsr_mixed-16_tuned_vid4.py at 36 BOPs/MAC, those of 6 bit everywhere.
_base_ = ["basicvsr_mixed-16_tuned_vid4.py", "../_base_/quant/basicvsr_mixed-36.json"]
model = dict(quant=dict(rules=[*_base_.quant_rules, *_base_.mixed_36]))
optim_wrapper = dict(optimizer=dict(lr=1e-4))
