"Real networks on real videos, where they are"
import json
import numpy as np
import pytest
from ms2d.video import Video, open_encoder

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
