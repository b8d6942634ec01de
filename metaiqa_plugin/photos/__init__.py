"""The photos in the package; README.md here says whose they are."""

from __future__ import annotations

from pathlib import Path

__all__ = ['KODAK', 'carried_photos']

KODAK = Path(__file__).parent / 'kodak24'


def carried_photos() -> list[Path]:
    """Their files, by name."""
    return sorted(KODAK.glob('*.webp'))
