"Small models of pictures and text in transformers' own format, for tests"
import json
from pathlib import Path
import numpy as np, torch

def tokenizer(sentences, folder:Path, length:int):
    "A tokenizer of whole words, with the files that a user finds beside a model"
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast
    marks = dict(pad_token='[pad]', bos_token='[begin]', eos_token='[end]', unk_token='[unknown]')
    cut = Tokenizer(models.WordLevel(unk_token='[unknown]'))
    cut.normalizer = normalizers.Lowercase()
    cut.pre_tokenizer = pre_tokenizers.Whitespace()
    cut.train_from_iterator(sentences, trainers.WordLevelTrainer(special_tokens=[*marks.values()]))
    at = {k: cut.token_to_id(k) for k in marks.values()}
    cut.post_processor = processors.TemplateProcessing(single='[begin] $A [end]', special_tokens=[(k, at[k]) for k in ('[begin]', '[end]')])
    whole = PreTrainedTokenizerFast(tokenizer_object=cut, model_max_length=length, **marks)
    whole.save_pretrained(folder)
    return whole, at

def small_clip(folder:Path, sentences, kind='clip', seed=0, width=32, layers=1, side=32):
    "A model with random weights, its tokenizer and its image processor, saved; -> the model"
    import transformers as t
    length = 24
    cut,at = tokenizer(sentences, folder, length)
    text = dict(vocab_size=len(cut), hidden_size=width, intermediate_size=2*width, num_hidden_layers=layers, num_attention_heads=4, max_position_embeddings=length,
        pad_token_id=at['[pad]'], bos_token_id=at['[begin]'], eos_token_id=at['[end]'])
    seen = dict(hidden_size=width, intermediate_size=2*width, num_hidden_layers=layers, num_attention_heads=4, image_size=side, patch_size=8)
    torch.manual_seed(seed)
    if kind=='clip': net = t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=seen, projection_dim=width))
    if kind=='siglip': net = t.SiglipModel(t.SiglipConfig(text_config=text, vision_config=seen))
    if kind=='xclip':
        video = dict(num_frames=4, mit_hidden_size=width, mit_intermediate_size=width, mit_num_hidden_layers=1, mit_num_attention_heads=4, **seen)
        net = t.XCLIPModel(t.XCLIPConfig(text_config=text, vision_config=video, projection_dim=width))
    net.eval().save_pretrained(folder)
    looks(folder, side)
    return net

def trained_clip(folder:Path, pictures, sentences, updates=1500, batch=128):
    "A CLIP that has seen pictures with sentences, as published ones have: `pictures[i]` (T, 32, 32, 3) uint8 all show what `sentences[i]` says; saved, -> the model"
    net = small_clip(folder, sentences, width=64, layers=3)
    from transformers import AutoTokenizer
    tokens = AutoTokenizer.from_pretrained(folder)(list(sentences), padding=True, return_tensors='pt')
    rng = np.random.default_rng(0)
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=.1)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, updates, pct_start=.1)
    net.train()
    for _ in range(updates):
        some = rng.permutation(len(sentences))[:batch]
        shown = np.stack([pictures[i][rng.integers(len(pictures[i]))] for i in some])
        said = {k: tokens[k][some] for k in ('input_ids', 'attention_mask')}
        loss = net(pixel_values=prepared(shown, 32), return_loss=True, **said).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()
    net.eval().save_pretrained(folder)
    return net

def looks(folder, side):
    "The settings of the pixels"
    about = dict(image_processor_type='CLIPImageProcessor', do_resize=True, size=dict(shortest_edge=side), do_center_crop=True, crop_size=dict(height=side, width=side),
        do_rescale=True, rescale_factor=1/255, do_normalize=True, image_mean=[.4, .5, .6], image_std=[.2, .25, .3])
    (folder/'preprocessor_config.json').write_text(json.dumps(about))

def prepared(frames, side):
    "Square frames (T, side, side, 3) uint8 as `looks` wants them, by hand"
    x = (torch.from_numpy(frames).float()/255 - torch.tensor([.4, .5, .6]))/torch.tensor([.2, .25, .3])
    return x.permute(0, 3, 1, 2)
