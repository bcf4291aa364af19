import mmagic.datasets
import numpy as np
import pytest
import torch
from mmagic.datasets import transforms as mmagic_transforms

import vsrq.datasets.frames_dataset as module
from tests.datasets.conftest import noise, write_frames, write_video
from tests.datasets.test_sources import png, write_lmdb
from vsrq.datasets.bicubic import matlab_resize
from vsrq.datasets.gaussian import gaussian_downsample
from vsrq.errors import ConfigError, DataError
from vsrq.registry import DATASETS

LOAD = [
    dict(type="LoadImageFromFile", key="img", channel_order="rgb"),
    dict(type="LoadImageFromFile", key="gt", channel_order="rgb"),
]
SEGMENT = dict(type="GenerateSegmentIndices", interval_list=[1])
PACK = dict(type="PackInputs")
PAIRS = [SEGMENT, *LOAD, PACK]
IMG_GT = dict(img="LR", gt="HR")


def build(root, data_prefix=IMG_GT, pipeline=PAIRS, **kwargs):
    return DATASETS.build(
        dict(type="BasicFramesDataset", data_root=str(root), data_prefix=data_prefix, pipeline=pipeline, **kwargs)
    )


def pairs(root, lengths, size=(8, 12), template="{:08d}.png"):
    """Write clips of noise, ground truth four times the input; return them by name."""
    clips = {}
    for seed, (name, length) in enumerate(lengths.items()):
        clips[name] = noise(length, *size, seed), noise(length, 4 * size[0], 4 * size[1], seed + 99)
        write_frames(root / "LR" / name, clips[name][0], template)
        write_frames(root / "HR" / name, clips[name][1], template)
    return clips


def chw(frames):
    return torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, -3)


def test_pairs_arrive_whole_and_in_order(tmp_path):
    clips = pairs(tmp_path, {"calendar": 4, "foliage": 3})
    dataset = build(tmp_path)
    assert len(dataset) == 2
    for sample, (img, gt) in zip(dataset, clips.values(), strict=True):
        assert torch.equal(sample["inputs"], chw(img))
        assert torch.equal(sample["data_samples"].gt_img, chw(gt))


def test_sample_equals_mmagics_own(tmp_path):
    pairs(tmp_path, {"000": 6})
    ours = build(tmp_path, num_input_frames=3)
    theirs = mmagic.datasets.BasicFramesDataset(
        data_root=str(tmp_path),
        data_prefix=IMG_GT,
        num_input_frames=3,
        pipeline=[
            mmagic_transforms.GenerateSegmentIndices(interval_list=[1]),
            mmagic_transforms.LoadImageFromFile(key="img", channel_order="rgb"),
            mmagic_transforms.LoadImageFromFile(key="gt", channel_order="rgb"),
            mmagic_transforms.PackInputs(),
        ],
    )
    for seed in range(4):
        np.random.seed(seed)
        a = ours[0]
        np.random.seed(seed)
        b = theirs[0]
        assert torch.equal(a["inputs"], b["inputs"])
        assert torch.equal(a["data_samples"].gt_img, b["data_samples"].gt_img)
        assert a["data_samples"].metainfo == b["data_samples"].metainfo


def test_training_pipeline_of_mmagic_crops_and_flips_both_alike(tmp_path):
    frames = noise(5, 32, 48)
    write_frames(tmp_path / "HR" / "a", frames)
    write_frames(tmp_path / "LR" / "a", frames[:, ::4, ::4])
    augment = [
        dict(type="SetValues", dictionary=dict(scale=4)),
        dict(type="PairedRandomCrop", gt_patch_size=16),
        dict(type="MirrorSequence", keys=["img", "gt"]),
    ]
    sample = build(tmp_path, pipeline=[SEGMENT, *LOAD, *augment, PACK], num_input_frames=3)[0]
    assert sample["inputs"].shape == (6, 3, 4, 4)
    assert torch.equal(sample["data_samples"].gt_img[..., ::4, ::4], sample["inputs"])
    assert torch.equal(sample["inputs"][0], sample["inputs"][5])


@pytest.mark.parametrize(
    ("transform", "reduce"),
    [("MATLABBicubic", lambda x: matlab_resize(x, 0.25)), ("GaussianDownsampling", gaussian_downsample)],
)
@pytest.mark.parametrize("kind", ["folder", "video"])
def test_high_resolution_clips_are_degraded_on_the_fly(tmp_path, transform, reduce, kind):
    frames = noise(3, 34, 41)
    if kind == "folder":
        write_frames(tmp_path / "clip", frames)
    else:
        write_video(tmp_path / "clip.mkv", frames)
    dataset = build(tmp_path, dict(gt=""), [SEGMENT, LOAD[1], dict(type=transform), PACK])
    sample = dataset[0]
    truth = chw(frames)[..., :32, :40]
    assert torch.equal(sample["data_samples"].gt_img, truth)
    assert torch.equal(sample["inputs"], reduce(truth))
    assert sample["data_samples"].metainfo["img_channel_order"] == "rgb"


def test_compressed_video_is_halved_first(tmp_path):
    frames = noise(2, 33, 50)
    write_frames(tmp_path / "clip", frames)
    halve = dict(type="MATLABBicubic", scale=0.5, src="gt", dst="gt")
    sample = build(tmp_path, dict(gt=""), [SEGMENT, LOAD[1], halve, dict(type="MATLABBicubic"), PACK])[0]
    half = matlab_resize(chw(frames)[..., :32, :50], 0.5)[..., :24]
    assert torch.equal(sample["data_samples"].gt_img, half)
    assert torch.equal(sample["inputs"], matlab_resize(half, 0.25))


def test_reds4_is_split_off(tmp_path):
    pairs(tmp_path, dict.fromkeys(("000", "001", "011", "015", "020", "021"), 2))
    assert [build(tmp_path, split="reds4_val").get_data_info(i)["key"] for i in range(4)] == [
        "000",
        "011",
        "015",
        "020",
    ]
    assert [info["key"] for info in map(build(tmp_path, split="reds4_train").get_data_info, range(2))] == ["001", "021"]
    with pytest.raises(ConfigError, match="unknown split 'reds4_test'; did you mean"):
        build(tmp_path, split="reds4_test")
    (tmp_path / "HR" / "015").rename(tmp_path / "gone")
    with pytest.raises(DataError, match="015 of REDS4 are missing"):
        build(tmp_path, split="reds4_val", search_key="gt")


def test_list_files_of_vid4_and_reds(tmp_path):
    pairs(tmp_path, {"calendar": 3, "city": 2, "walk": 2})
    (tmp_path / "vid4.txt").write_text("walk 2\n\ncalendar 3\n")
    (tmp_path / "reds.txt").write_text("city/00000000.png (720, 1280, 3)\ncity/00000001.png (720, 1280, 3)\n")
    assert [build(tmp_path, ann_file="vid4.txt").get_data_info(i)["key"] for i in range(2)] == ["walk", "calendar"]
    assert build(tmp_path, ann_file="reds.txt").get_data_info(0)["key"] == "city"
    assert len(build(tmp_path, ann_file="reds.txt")) == 1


def test_vimeo_septuplets_with_centre_ground_truth(tmp_path):
    names = [f"im{i}.png" for i in range(1, 8)]
    for clip in ("00001/0266", "00001/0268"):
        write_frames(tmp_path / "LR" / clip, noise(8, 4, 4)[1:], "im{}.png")
        for number, frame in enumerate(noise(7, 16, 16), start=1):
            write_frames(tmp_path / "HR" / clip, [frame], f"im{number}.png")
            write_frames(tmp_path / "LR" / clip, [frame[::4, ::4]], f"im{number}.png")
        (tmp_path / "LR" / clip / "im0.png").unlink()
    (tmp_path / "list.txt").write_text("00001/0268\n")
    kwargs = dict(ann_file="list.txt", depth=2, load_frames_list=dict(img=names, gt=["im4.png"]), fixed_seq_len=7)
    mirror = dict(type="MirrorSequence", keys=["img"])
    sample = build(tmp_path, pipeline=[*LOAD, mirror, PACK], **kwargs)[0]
    assert sample["inputs"].shape == (14, 3, 4, 4)
    assert torch.equal(sample["data_samples"].gt_img, chw(noise(7, 16, 16)[3]))
    assert torch.equal(sample["inputs"][3], sample["data_samples"].gt_img[:, ::4, ::4])
    assert torch.equal(sample["inputs"][0], sample["inputs"][13])
    (tmp_path / "HR" / "00001" / "0268" / "im4.png").unlink()
    with pytest.raises(DataError, match="00001/0268: frames im4 of load_frames_list are missing"):
        build(tmp_path, pipeline=[*LOAD, PACK], **kwargs)


@pytest.mark.parametrize("padding", ["replicate", "reflection", "reflection_circle", "circle"])
def test_windows_of_edvr_equal_mmagics(tmp_path, padding):
    clips = pairs(tmp_path, {"000": 6, "001": 7})
    dataset = build(
        tmp_path,
        pipeline=[dict(type="GenerateFrameIndiceswithPadding", padding=padding), *LOAD, PACK],
        depth=2,
        num_input_frames=5,
        num_output_frames=1,
    )
    assert len(dataset) == 13
    theirs = mmagic_transforms.GenerateFrameIndiceswithPadding(padding=padding)
    for index in range(13):
        clip, centre = ("000", index) if index < 6 else ("001", index - 6)
        expected = theirs.transform(
            dict(
                key=f"{clip}/{centre:08d}",
                img_path="",
                gt_path="",
                num_input_frames=5,
                sequence_length=len(clips[clip][0]),
            )
        )
        numbers = [int(path.rsplit("/", 1)[1][:8]) for path in expected["img_path"]]
        sample = dataset[index]
        assert torch.equal(sample["inputs"], chw(clips[clip][0][numbers]))
        assert torch.equal(sample["data_samples"].gt_img, chw(clips[clip][1][centre]))


def test_training_windows_stay_inside_and_keep_their_centre(tmp_path):
    clips = pairs(tmp_path, {"000": 9})
    step = dict(type="GenerateFrameIndices", interval_list=[2])
    dataset = build(tmp_path, pipeline=[step, *LOAD, PACK], depth=2, num_input_frames=3, num_output_frames=1)
    lr, hr = clips["000"]
    for index in range(9):
        sample = dataset[index]
        centre = next(i for i in range(9) if torch.equal(sample["data_samples"].gt_img, chw(hr[i])))
        assert torch.equal(sample["inputs"], chw(lr[[centre - 2, centre, centre + 2]]))
        assert centre == index or not 2 <= index < 7
    with pytest.raises(DataError, match="9 frames, but 3 frames at interval 5 span 11"):
        build(tmp_path, pipeline=[dict(type="GenerateFrameIndices", interval_list=[1, 5])], depth=2, num_input_frames=3)


def test_lmdb_pairs(tmp_path):
    img, gt = noise(3, 4, 6), noise(3, 16, 24)
    for name, frames in (("LR.lmdb", img), ("HR.lmdb", gt)):
        write_lmdb(tmp_path / name, {f"000/{n:08d}": png(frame) for n, frame in enumerate(frames)})
    sample = build(tmp_path, dict(img="LR.lmdb", gt="HR.lmdb"))[0]
    assert torch.equal(sample["inputs"], chw(img))
    assert torch.equal(sample["data_samples"].gt_img, chw(gt))


@pytest.mark.parametrize("opened_before", [False, True])
def test_lmdb_is_read_in_forked_workers_and_in_the_parent(tmp_path, opened_before):
    img = noise(2, 4, 6)
    write_lmdb(tmp_path / "LR.lmdb", {f"{c}/{n}": png(frame) for c in range(4) for n, frame in enumerate(img)})
    dataset = build(tmp_path, dict(img="LR.lmdb"), [SEGMENT, LOAD[0], PACK])
    if opened_before:
        assert torch.equal(dataset[0]["inputs"], chw(img))
    loader = torch.utils.data.DataLoader(
        dataset, num_workers=2, collate_fn=lambda batch: batch[0]["inputs"], multiprocessing_context="fork"
    )
    clips = list(loader)
    assert len(clips) == 4
    assert all(torch.equal(clip, chw(img)) for clip in clips)
    assert torch.equal(dataset[3]["inputs"], chw(img))


def test_a_clip_of_one_frame_stays_a_clip(tmp_path):
    pairs(tmp_path, {"one": 1})
    sample = build(tmp_path)[0]
    assert sample["inputs"].shape == (1, 3, 8, 12)
    assert sample["data_samples"].gt_img.shape == (1, 3, 32, 48)


def test_names_of_frames_do_not_matter_but_a_template_is_obeyed(tmp_path):
    clips = pairs(tmp_path, {"a": 4}, template="Frame {:03d}.png")
    assert torch.equal(build(tmp_path)[0]["inputs"], chw(clips["a"][0]))
    templated = dict(SEGMENT, filename_tmpl="Frame {:03d}.png", start_idx=1)
    with pytest.raises(DataError, match=r"no frame 'Frame 004.png'.*leave filename_tmpl out"):
        build(tmp_path, pipeline=[templated])
    sample = build(tmp_path, pipeline=[templated, *LOAD, PACK], fixed_seq_len=3)[0]
    assert torch.equal(sample["inputs"], chw(clips["a"][0][1:]))


def test_evaluation_may_use_the_head_of_a_clip(tmp_path):
    clips = pairs(tmp_path, {"a": 9})
    dataset = build(tmp_path, pipeline=[dict(SEGMENT, random_start=False), *LOAD, PACK], num_input_frames=2)
    assert all(torch.equal(dataset[0]["inputs"], chw(clips["a"][0][:2])) for _ in range(5))


def test_what_was_found_is_logged(tmp_path, monkeypatch):
    pairs(tmp_path, {"a": 4, "b": 2})
    lines = []
    monkeypatch.setattr(module, "print_log", lambda text, logger: lines.append(text))
    build(tmp_path)
    (line,) = lines
    assert "2 clips; img: 6 frames (2 to 4 per clip), 12x8; gt: 6 frames (2 to 4 per clip), 48x32" in line
    assert f"gt={tmp_path}/HR" in line


def test_wrong_counts_are_all_named_before_the_run(tmp_path):
    pairs(tmp_path, {"a": 4, "b": 3, "c": 2})
    (tmp_path / "LR" / "a" / "00000002.png").unlink()
    (tmp_path / "list.txt").write_text("a 4\nb 5\n")
    with pytest.raises(
        DataError, match=r"2 clips have wrong.*a: 3 img, 4 gt frames, must be equal; b: 3 frames, but the"
    ):
        build(tmp_path, ann_file="list.txt")
    (tmp_path / "short.txt").write_text("b\nc\n")
    with pytest.raises(DataError, match=r"^c: 2 frames, but 3 are needed$"):
        build(tmp_path, ann_file="short.txt", num_input_frames=3)


def test_sizes_that_do_not_fit_are_refused_before_the_run(tmp_path):
    write_frames(tmp_path / "LR" / "a", noise(2, 8, 12))
    write_frames(tmp_path / "HR" / "a", noise(2, 32, 46))
    with pytest.raises(DataError, match=r"\(46x32\) is not a whole multiple of .*\(12x8\)"):
        build(tmp_path)


def test_missing_things_are_named(tmp_path):
    pairs(tmp_path, {"a": 2})
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        build(tmp_path, dict(img="nowhere", gt="HR"))
    (tmp_path / "list.txt").write_text("a\nb\nc\n")
    with pytest.raises(DataError, match=r"2 clips cannot be used: .*LR/b: no such clip"):
        build(tmp_path, ann_file="list.txt")
    with pytest.raises(DataError, match=r"list file .*gone\.txt cannot be read"):
        build(tmp_path, ann_file="gone.txt")
    (tmp_path / "blank.txt").write_text("\n\n")
    with pytest.raises(DataError, match="names no clip"):
        build(tmp_path, ann_file="blank.txt")
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match="void: no clip found"):
        build(tmp_path, dict(gt="void"))


def test_truncated_frames_and_videos_are_refused(tmp_path):
    write_frames(tmp_path / "clips" / "a", noise(3, 32, 32))
    broken = tmp_path / "clips" / "a" / "00000001.png"
    broken.write_bytes(broken.read_bytes()[:800])
    dataset = build(tmp_path, dict(gt="clips"), [SEGMENT, LOAD[1], PACK])
    with pytest.raises(DataError, match=r"00000001\.png: truncated"):
        dataset[0]
    video = write_video(tmp_path / "videos" / "b.mp4", noise(9, 32, 32), "mpeg4", "yuv420p")
    video.write_bytes(video.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"b\.mp4: .*truncated"):
        build(tmp_path, dict(gt="videos"), [SEGMENT, LOAD[1], PACK])


def test_wrong_settings_name_the_nearest(tmp_path):
    pairs(tmp_path, {"a": 2})
    with pytest.raises(ConfigError, match="'num_input_frame' in BasicFramesDataset; did you mean 'num_input_frames'"):
        build(tmp_path, num_input_frame=2)
    with pytest.raises(ConfigError, match="exclude each other"):
        build(tmp_path, ann_file="x.txt", split="reds4_val")
    with pytest.raises(ConfigError, match=r"give data_prefix a folder that ends in \.lmdb"):
        build(tmp_path, backend_args=dict(backend="lmdb"))
    for step, message in (
        (dict(SEGMENT, interval_list=[0]), "interval_list must hold whole numbers"),
        (dict(SEGMENT, start_idx=1), "give filename_tmpl"),
        (dict(type="GenerateFrameIndiceswithPadding", padding="zero"), "unknown padding 'zero'"),
        (dict(type="LoadImageFromFile", key="img", color_type="grayscale"), "color_type='grayscale' is not supported"),
        (dict(type="LoadImageFromFile", key="img", channel_order="brg"), "channel_order must be"),
        (dict(type="MATLABBicubic", scale=0.3), "one over a whole number"),
        (dict(type="GaussianDownsampling", sigma=0), "sigma must be a positive number"),
        (dict(type="GenerateFrameIndices", interval_list=[1]), "windows need depth=2 and an odd num_input_frames"),
    ):
        with pytest.raises(ConfigError, match=message):
            build(tmp_path, pipeline=[step])


def test_cached_frames_are_not_changed_by_transforms(tmp_path):
    clips = pairs(tmp_path, {"a": 2})
    load = [dict(step, use_cache=True) for step in LOAD]
    dataset = build(tmp_path, pipeline=[SEGMENT, *load])
    dataset[0]["img"][0][:] = 0
    assert np.array_equal(np.stack(dataset[0]["img"]), clips["a"][0])


def test_channel_order_bgr(tmp_path):
    clips = pairs(tmp_path, {"a": 2})
    sample = build(tmp_path, pipeline=[SEGMENT, dict(LOAD[0], channel_order="bgr")])[0]
    assert np.array_equal(np.stack(sample["img"]), clips["a"][0][..., ::-1])
