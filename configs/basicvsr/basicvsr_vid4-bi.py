# Official Vimeo-90K BI weights scored on Vid4 alone:
# python tools/test.py configs/basicvsr/basicvsr_vid4-bi.py data/weights/BasicVSR_Vimeo90K_BIx4.pth
_base_ = "basicvsr_2xb4_vimeo90k-bi.py"
test_dataloader = dict(_delete_=True, **_base_.vid4_dataloader)
test_evaluator = _base_.vid4_evaluator
