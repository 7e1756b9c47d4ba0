"Real networks on real videos, where they are"
import json
from pathlib import Path
import numpy as np
import pytest
from ms2d.video import Video
from ms2d.encoders import open_encoder

@pytest.fixture(scope='module')
def movinet(shared):
    "A 3D CNN pretrained on Kinetics-600"
    pytest.importorskip('ai_edge_litert', reason="the extra [tflite] is not installed")
    return f"tflite:{shared/'data'/'weights'/'movinet_a0_stream_int8_kinetics600.tflite'}"

def cosines(a, b): return (a*b).sum(1)/np.linalg.norm(a, axis=1)/np.linalg.norm(b, axis=1)

def test_movinet_makes_the_published_features(shared, movinet):
    """Rows of real clips, one for each 2 s, against a file that others made: the same to the last bit where the pixels are, and
    pixels are easily not. The network computes in 8 bits: another kernel (.989), sums in another order (.994), a last window that is
    filled up (.999) all show."""
    import h5py
    encoder,seen,found = open_encoder(movinet),[],[]
    with h5py.File(shared/'data'/'features'/'msrvtt_movinet_a0_k600.hdf5') as f:
        for path in sorted((shared/'data'/'msrvtt_clips'/'videos').glob('*.mp4'))[::60]:
            rows,theirs = encoder.rows(Video(path).frames(encoder.rate, encoder.most)),f[path.stem][:].astype(np.float32)
            assert rows.shape==theirs.shape
            seen.append(cosines(rows, theirs).mean())
            near = rows/np.linalg.norm(rows, axis=1, keepdims=True) @ (theirs/np.linalg.norm(theirs, axis=1, keepdims=True)).T
            found.extend(near.argmax(1)==np.arange(len(rows)))
    assert np.mean(seen)>=.9995 and np.mean(found)>=.999, (np.mean(seen), np.mean(found))

def test_a_model_of_pictures(shared, movinet):
    encoder = open_encoder(f"tflite:{shared/'data'/'weights'/'mobilenet_v2_1.0_224_quant.tflite'}", rate=1, window=1)
    path = min((shared/'data'/'msrvtt_clips'/'videos').glob('*.mp4'))
    rows = encoder.rows(Video(path).frames(encoder.rate, encoder.most))
    assert rows.shape[1]==1001 and np.allclose(rows.sum(1), 1, atol=.25)         # a softmax in 8 bits

def test_wrong_model_files(movinet, tmp_path):
    (tmp_path/'text.tflite').write_text('a'*100)
    with pytest.raises(ValueError, match='no LiteRT model'): open_encoder(f"tflite:{tmp_path/'text.tflite'}")
    with pytest.raises(FileNotFoundError, match='does not exist'): open_encoder(f"tflite:{tmp_path/'gone.tflite'}")

SMALL = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16)

def save(kind, folder):
    "A model of transformers with random weights, saved as its users find it"
    import transformers as t
    if kind=='clip': net = t.CLIPVisionModel(t.CLIPVisionConfig(**SMALL))
    if kind=='videomae': net = t.VideoMAEModel(t.VideoMAEConfig(num_frames=4, **SMALL))
    if kind=='timesformer': net = t.TimesformerModel(t.TimesformerConfig(num_frames=4, **SMALL))
    net.save_pretrained(folder)
    (folder/'preprocessor_config.json').write_text(json.dumps(dict(image_mean=[.4]*3, image_std=[.2]*3, crop_size=dict(height=32, width=32))))
    return net.eval()

@pytest.mark.parametrize('kind, window', dict(clip=1, videomae=4, timesformer=4).items())
def test_transformers(kind, window, tmp_path):
    "What the encoder makes is what the model itself makes of pixels prepared by hand"
    pytest.importorskip('transformers', reason='the extra [hf] is not installed')
    import torch
    net,encoder = save(kind, tmp_path),open_encoder(f'hf:{tmp_path}')
    assert (encoder.window, encoder.stride)==(window, window)
    frames = np.random.default_rng(0).integers(0, 256, (2*window, 32, 32, 3), np.uint8)
    x = (torch.from_numpy(frames/255).float().permute(0, 3, 1, 2) - .4)/.2
    with torch.no_grad(): out = net(x if kind=='clip' else x.reshape(2, 4, 3, 32, 32))
    want = out.pooler_output if kind=='clip' else out.last_hidden_state.mean(1)
    assert np.allclose(encoder.rows(frames), want.numpy(), atol=1e-5)
    assert open_encoder(f'hf:{tmp_path}', stride=1).rows(frames).shape==(2*window, 16)

def test_a_model_that_is_not_there(tmp_path):
    pytest.importorskip('transformers', reason='the extra [hf] is not installed')
    with pytest.raises(FileNotFoundError, match='download=True'): open_encoder(f"hf:{tmp_path/'nothing'}")

PROCESSED = { # what a preprocessor file may say -> the pixels of a frame (H, W, 3) in 0..255, by hand where that is short
    'not normalized': (dict(do_normalize=False), lambda x: x/255), 'not scaled': (dict(do_rescale=False, do_normalize=False), lambda x: x),
    'to -1 .. 1': (dict(rescale_factor=1/127.5, image_mean=[1.]*3, image_std=[1.]*3), lambda x: x/127.5 - 1),
    'means of three colours': (dict(image_mean=[.1, .2, .3], image_std=[.5, .6, .7]), lambda x: (x/255 - [.1, .2, .3])/[.5, .6, .7])}

def vit(folder, about):
    "A small model of pictures, and what its preprocessor file says"
    import transformers as t
    t.ViTModel(t.ViTConfig(**SMALL)).save_pretrained(folder)
    return prepared(folder, dict(dict(size=dict(height=32, width=32), image_mean=[.5]*3, image_std=[.5]*3, image_processor_type='ViTImageProcessor'), **about))

def prepared(folder, about):
    "The folder, with a preprocessor file"
    (folder/'preprocessor_config.json').write_text(json.dumps(about))
    return folder

def rows_by_itself(folder, pixels):
    "What the model makes of pixels (T, 3, h, w)"
    import torch, transformers
    with torch.no_grad(): return transformers.AutoModel.from_pretrained(folder).eval()(pixel_values=torch.as_tensor(pixels).float()).pooler_output.numpy()

@pytest.mark.parametrize('about', PROCESSED)
def test_pixels_as_the_preprocessor_says(about, tmp_path):
    pytest.importorskip('transformers', reason='the extra [hf] is not installed')
    said,by_hand = PROCESSED[about]
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    rows = open_encoder(f'hf:{vit(tmp_path, said)}').rows(frames)
    assert np.allclose(rows, rows_by_itself(tmp_path, by_hand(frames).transpose(0, 3, 1, 2)), atol=1e-4)

@pytest.mark.parametrize('about', [dict(image_processor_type='CLIPImageProcessor', size=dict(shortest_edge=40), crop_size=dict(height=32, width=32), resample=3),
    dict(size=dict(height=32, width=32), resample=0), dict(image_processor_type='MobileViTImageProcessor', size=dict(shortest_edge=36), crop_size=dict(height=32, width=32), do_flip_channel_order=True)])
def test_pixels_of_larger_frames(about, tmp_path):
    "Kernel, size, cut and the order of colours are the processor's own"
    t = pytest.importorskip('transformers', reason='the extra [hf] is not installed')
    frames = np.random.default_rng(0).integers(0, 256, (3, 61, 83, 3), np.uint8)
    rows = open_encoder(f'hf:{vit(tmp_path, about)}').rows(frames)
    pixels = t.AutoImageProcessor.from_pretrained(tmp_path, use_fast=False)(images=list(frames), return_tensors='np')['pixel_values']
    assert np.allclose(rows, rows_by_itself(tmp_path, pixels), atol=1e-5)
    if about.get('do_flip_channel_order'): assert not np.allclose(rows, rows_by_itself(tmp_path, pixels[:,::-1].copy()), atol=1e-3)

def test_other_pixels_are_another_encoder(tmp_path):
    "The checksum covers weights and what the preprocessor file says"
    pytest.importorskip('transformers', reason='the extra [hf] is not installed')
    one = open_encoder(f'hf:{vit(tmp_path, {})}').checksum
    assert open_encoder(f'hf:{tmp_path}').checksum == one
    prepared(tmp_path, dict(json.loads((tmp_path/'preprocessor_config.json').read_text()), do_normalize=False))
    assert open_encoder(f'hf:{tmp_path}').checksum != one

def test_v_jepa(tmp_path):
    "It has tokens and no pooled answer, and calls its input and its number of frames otherwise"
    t = pytest.importorskip('transformers', reason='the extra [hf] is not installed')
    import torch
    net = t.VJEPA2Model(t.VJEPA2Config(crop_size=32, patch_size=16, frames_per_clip=4, hidden_size=16, num_attention_heads=2, num_hidden_layers=1, mlp_ratio=1., pred_hidden_size=16,
        pred_num_attention_heads=2, pred_num_hidden_layers=1)).eval()
    net.save_pretrained(tmp_path)
    about = dict(video_processor_type='VJEPA2VideoProcessor', size=dict(shortest_edge=32), crop_size=dict(height=32, width=32), image_mean=[.4]*3, image_std=[.2]*3)
    (tmp_path/'video_preprocessor_config.json').write_text(json.dumps(about))
    frames = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    x = ((torch.from_numpy(frames/255).float() - .4)/.2).permute(0, 3, 1, 2).reshape(2, 4, 3, 32, 32)
    with torch.no_grad(): want = net(pixel_values_videos=x).last_hidden_state.mean(1)
    encoder = open_encoder(f'hf:{tmp_path}')
    assert encoder.window == 4 and np.allclose(encoder.rows(frames), want.numpy(), atol=1e-5)

class Trap:
    "What a stranger's pickle may be"
    def __init__(self, mark): self.mark = mark
    def __reduce__(self): return Path.touch, (self.mark,)

def test_nothing_of_a_stranger_runs(tmp_path):
    "Neither a pickle nor the code that a model brings"
    pytest.importorskip('transformers', reason='the extra [hf] is not installed')
    import torch
    vit(tmp_path, {})
    (tmp_path/'model.safetensors').unlink()
    torch.save(dict(x=Trap(tmp_path/'sprung')), tmp_path/'pytorch_model.bin')
    with pytest.raises(ValueError, match='no model that transformers can load'): open_encoder(f'hf:{tmp_path}')
    (tmp_path/'own.py').write_text(f"import pathlib; pathlib.Path({str(tmp_path/'sprung')!r}).touch()\nclass Net: pass\n")
    (tmp_path/'config.json').write_text(json.dumps(dict(model_type='unheard', auto_map=dict(AutoConfig='own.Net', AutoModel='own.Net'))))
    with pytest.raises(ValueError, match='without code of its own'): open_encoder(f'hf:{tmp_path}')
    assert not (tmp_path/'sprung').exists()

def test_models_that_make_no_rows(tmp_path):
    "Of text, with damaged weights, with weights that lack something: each a sentence that names the model"
    t = pytest.importorskip('transformers', reason='the extra [hf] is not installed')
    from safetensors.torch import load_file, save_file
    vit(tmp_path, {})
    weights = load_file(tmp_path/'model.safetensors')
    save_file({k: v for k,v in weights.items() if 'pooler' not in k}, tmp_path/'model.safetensors', dict(format='pt'))
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    rows = open_encoder(f'hf:{tmp_path}').rows(frames)                             # saved without its pooler: tokens, no random numbers
    assert np.array_equal(rows, open_encoder(f'hf:{tmp_path}').rows(frames))
    save_file({k: v for k,v in weights.items() if 'query' not in k}, tmp_path/'model.safetensors', dict(format='pt'))
    with pytest.raises(ValueError, match='has no weights for'): open_encoder(f'hf:{tmp_path}')
    (tmp_path/'model.safetensors').write_bytes(b'x'*100)
    with pytest.raises(ValueError, match='no model that transformers can load'): open_encoder(f'hf:{tmp_path}')
    text = tmp_path/'text'
    t.BertModel(t.BertConfig(vocab_size=20, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)).save_pretrained(text)
    prepared(text, dict(size=dict(height=32, width=32), image_mean=[.5]*3, image_std=[.5]*3))
    with pytest.raises(ValueError, match='looks at input_ids'): open_encoder(f'hf:{text}').rows(frames)
