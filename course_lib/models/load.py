"""Load a causal language model: the bundled one, a checkpoint directory, or a Hugging Face hub id."""

import json
from pathlib import Path

import torch

BUNDLED = Path(__file__).parent / "bundled"


def load(name="bundled", dtype=None):
    """Return `(model, tokenizer)`, in evaluation mode.

    `name` is "bundled", a directory with `config.json`, or a hub id such as "HuggingFaceTB/SmolLM2-135M". The dtype is
    float32 on a CPU and the checkpoint's own 16 bits on a GPU, unless given. Raises `FileNotFoundError` for a missing
    directory, `ValueError` for one with an adapter (LoRA) that is not merged, and `ConnectionError` where a hub id can
    be neither read from the local cache nor fetched.

    >>> model, tokenizer = load("bundled")
    >>> model.config.model_type
    'llama'
    """
    path = BUNDLED if name == "bundled" else Path(name).expanduser()
    no_hub_id = str(name).startswith((".", "/", "~")) or str(name).count("/") > 1
    looks_local = name == "bundled" or path.is_dir() or no_hub_id
    if looks_local:
        refuse_adapter(path)
    if looks_local and not (path / "config.json").is_file():
        raise FileNotFoundError(f"name: expected a checkpoint directory with config.json, got {str(path)!r}")
    return _read(str(path) if looks_local else str(name), dtype)


def refuse_adapter(folder):
    """ValueError for a folder with an adapter (LoRA): whoever reads the weights beside it goes without, and unseen."""
    folder = Path(folder)
    try:
        about = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        about = {}
    base = about.get("base_model_name_or_path") if isinstance(about, dict) else None
    of = f" of {base!r}" if base else ""
    whole = (folder / "config.json").is_file()
    raise ValueError(
        f"{str(folder)!r} holds an adapter{of} (adapter_config.json)"
        f"{', which would be left out' if whole else ' and no whole model'}: merge it first, with peft's"
        f" merge_and_unload and save_pretrained{', or move it elsewhere' if whole else ''}"
    )


def _read(where, dtype):
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = dtype or (torch.float32 if device == "cpu" else "auto")
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(where, dtype=dtype)
        tokenizer = AutoTokenizer.from_pretrained(where)
    except (OSError, ValueError) as error:
        if Path(where).is_dir():
            raise ValueError(
                f"name: {where!r} is not a causal language model that transformers reads: {error}"
            ) from error
        raise ConnectionError(
            f"name: {where!r} is neither a local directory nor reachable on the Hugging Face hub; "
            'without a network use "bundled" or a directory.'
        ) from error
    finally:
        if bars:
            logging.enable_progress_bar()
    return model.to(device).eval(), tokenizer


def bundled_bytes():
    """Return the size of the bundled 16-bit weight file in bytes."""
    return (BUNDLED / "model.safetensors").stat().st_size
