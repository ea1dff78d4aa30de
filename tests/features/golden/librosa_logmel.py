"""Made logmel.json: log-mel spectrograms of librosa 0.11, in an environment of its own.

    python -m venv scratch && scratch/bin/pip install librosa
    scratch/bin/python tests/features/golden/librosa_logmel.py

The samples are a formula, so that the test makes the same ones; four frames of each spectrogram are kept.
"""

import json
from pathlib import Path

import librosa
import numpy as np

CASES = {
    "audio": {"rate_hz": 16000, "n_fft": 1024, "hop": 512, "n_mels": 128, "fmin_hz": 0, "fmax_hz": 8000, "power": 2.0},
    "vibration": {
        "rate_hz": 12000,
        "n_fft": 512,
        "hop": 32,
        "n_mels": 64,
        "fmin_hz": 20,
        "fmax_hz": 5000,
        "power": 2.0,
    },
    "amplitude": {
        "rate_hz": 16000,
        "n_fft": 2048,
        "hop": 512,
        "n_mels": 64,
        "fmin_hz": 50,
        "fmax_hz": 7600,
        "power": 1.0,
    },
}
N_SAMPLES = 8000


def samples() -> np.ndarray:
    """(8000,), float64: a rising tone, a steady one, and a click."""
    n = np.arange(N_SAMPLES)
    found = 0.3 * np.sin(1e-4 * n**2) + 0.05 * np.sin(0.9 * n)
    found[4000] += 1.0
    return found


def main() -> None:
    """Write logmel.json beside this file."""
    made = {}
    for name, case in CASES.items():
        mel = librosa.feature.melspectrogram(
            y=samples(),
            sr=case["rate_hz"],
            n_fft=case["n_fft"],
            hop_length=case["hop"],
            n_mels=case["n_mels"],
            fmin=case["fmin_hz"],
            fmax=case["fmax_hz"],
            power=case["power"],
        )
        to_db = librosa.power_to_db if case["power"] == 2 else librosa.amplitude_to_db
        levels = to_db(mel, ref=1.0, amin=1e-10 if case["power"] == 2 else 1e-5, top_db=80.0)
        frames = [0, 1, levels.shape[1] // 2, levels.shape[1] - 1]
        kept = [[round(float(level), 6) for level in levels[:, frame]] for frame in frames]
        made[name] = {"parameters": case, "n_frames": levels.shape[1], "frames": frames, "levels_db": kept}
    content = {"librosa": librosa.__version__, "cases": made}
    Path(__file__).with_name("logmel.json").write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
