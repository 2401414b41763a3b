"""The loop that trains one network, and its checkpoints."""

import hashlib
import inspect
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

WARM_UP = 200  # steps


def generator_on(device: torch.device, seed: int) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def half_precision(device: torch.device) -> torch.autocast:
    """bf16 where it is quick: on the CPU it is slower than float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


def settings(model) -> dict:
    """The arguments that make a network of diffusers, as JSON knows them."""
    taken = inspect.signature(type(model).__init__).parameters
    return json.loads(json.dumps({k: v for k, v in model.config.items() if k in taken}))


def save_checkpoint(path: Path, meta: dict, model, average: dict, optimizer) -> None:
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{k}": v for k, v in state.items()}
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    partial = path.with_suffix(".part")
    save_file(tensors, partial, metadata={k: json.dumps(v) for k, v in meta.items()})
    os.replace(partial, path)


def read_meta(path: Path) -> dict:
    with safe_open(path, framework="pt") as file:
        return {k: json.loads(v) for k, v in file.metadata().items()}


def checksum(*parts) -> str:
    """Of networks and numbers, in short."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.nn.Module):
            for tensor in part.state_dict().values():
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        else:
            digest.update(json.dumps(part).encode())
    return digest.hexdigest()[:16]


def load_checkpoint(path: Path, model, average: dict, optimizer, beside: str = "") -> dict:
    """Set all three to what a checkpoint holds, and return what else it tells.

    ``beside`` is a checksum of what else the network was trained with.
    """
    if not path.exists():
        return {"step": 0, "seconds": 0.0, "losses": [], "beside": beside}
    meta = read_meta(path)
    if meta.get("beside", beside) != beside:
        raise SystemExit(
            f"{path} was trained with another autoencoder, or begun from other weights: remove it, "
            "or give another --work"
        )
    if meta["settings"] != settings(model):
        raise SystemExit(f"{path} is of a network of another shape: remove it, or give its flags")
    state: dict[int, dict] = {}
    weights = {}
    parameters = list(model.parameters())
    with safe_open(path, framework="pt") as file:
        for key in file.keys():
            kind, _, name = key.partition(".")
            value = file.get_tensor(key)
            if kind == "average":
                average[name].copy_(value)
            elif kind == "model":
                weights[name] = value
            else:
                index, _, field = name.partition(".")
                if field != "step":  # in memory as the parameter is: a fused Adam demands it
                    value = torch.empty_like(parameters[int(index)]).copy_(value)
                state.setdefault(int(index), {})[field] = value
    model.load_state_dict(weights)
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    return meta


def averaged(kind: type, path: Path):
    """The network of a checkpoint with its averaged weights."""
    if not path.exists():
        raise SystemExit(f"{path} is not there: train that network first")
    with safe_open(path, framework="pt") as file:
        weights = {k[8:]: file.get_tensor(k) for k in file.keys() if k.startswith("average.")}
    model = kind(**read_meta(path)["settings"])
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def train(name: str, model, loss_of, options, beside: str = "") -> None:
    """Adam with warm-up and cosine decay, a moving average of the weights, checkpoints.

    ``loss_of(model, generator)`` is the loss of one batch, drawn from the generator. Nothing here
    waits for the device but a checkpoint.
    """
    device = options.device
    torch.manual_seed(options.seed)
    model.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), options.rate, betas=(0.9, 0.99), weight_decay=0, fused=True
    )
    average = {k: v.detach().clone() for k, v in model.state_dict().items()}
    path = options.work / f"{name}.safetensors"
    meta = load_checkpoint(path, model, average, optimizer, beside)
    means, weights = list(average.values()), list(model.state_dict().values())
    step = first = meta["step"]
    began, spent, running = time.monotonic() - meta["seconds"], meta["seconds"], []
    before = spent

    def progress() -> float:
        return step / options.steps if options.seconds is None else spent / options.seconds

    def save() -> None:
        mean = torch.stack(running).mean().item()
        running.clear()
        meta.update(step=step, seconds=time.monotonic() - began, settings=settings(model))
        meta["losses"].append([step, round(mean, 5)])
        save_checkpoint(path, meta, model, average, optimizer)
        rate = (meta["seconds"] - before) / (step - first)
        told = f"step {step} loss {mean:.5f} {rate:.4f} s/step {progress():.0%}"
        print(name, told, flush=True)

    if progress() >= 1:
        print(f"{name}: {path} is finished: there is nothing to train", flush=True)
    while progress() < 1:
        for group in optimizer.param_groups:
            decay = 0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * progress()))
            group["lr"] = options.rate * min(1.0, (step + 1) / WARM_UP) * decay
        loss = loss_of(model, generator_on(device, options.seed * 10_000_000 + step))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(means, weights, 1 - min(0.999, (step + 1) / (step + 10)))
        running.append(loss.detach())
        step, spent = step + 1, time.monotonic() - began
        if step % options.save_every == 0:
            save()
    if running:
        save()
