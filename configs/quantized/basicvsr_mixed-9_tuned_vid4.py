# basicvsr_mixed-16_tuned_vid4.py at 9 BOPs/MAC, those of 3 bit everywhere.
_base_ = ["basicvsr_mixed-16_tuned_vid4.py", "../_base_/quant/basicvsr_mixed-9.json"]
model = dict(quant=dict(rules=[*_base_.quant_rules, *_base_.mixed_9]))
optim_wrapper = dict(optimizer=dict(lr=3e-4))
