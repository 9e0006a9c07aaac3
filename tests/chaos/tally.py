"""What a campaign of kills counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    kills: Counter[str] = field(default_factory=Counter)
    """By kind: what was killed, where."""
    faults: Counter[str] = field(default_factory=Counter)
    """What else went wrong: answers of S3, full disks."""
    roots: int = 0
    """Roots brought to the end, each compared with the uninterrupted one."""
    lost_units: float = 0.0
    """Units computed beyond those needed."""
    worst_lost: float = 0.0
    """The most units lost per kill, of the kills of one root."""
    leftovers: int = 0
    """What gc removed."""

    @property
    def killed(self) -> int:
        return self.kills.total()

    def end_root(self, lost_units: float, kills: int, units_at_once: int) -> None:
        """Count a root that is complete, and check what its kills have cost."""
        self.roots += 1
        self.lost_units += lost_units
        assert lost_units <= units_at_once * kills, (lost_units, units_at_once, kills)
        if kills:
            self.worst_lost = max(self.worst_lost, lost_units / kills)

    def summary(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kills.items()))
        faults = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items()))
        return (
            f"{self.killed} kills ({kinds}); {self.faults.total()} faults ({faults}); "
            f"{self.roots} roots equal to the uninterrupted ones; {self.lost_units:.1f} units "
            f"computed again, {self.worst_lost:.2f} per kill at worst; {self.leftovers} leftovers "
            "removed, none left"
        )
