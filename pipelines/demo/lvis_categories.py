"""Categories of the demo's annotations as LVIS describes its own: a sense of WordNet each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sense:
    """What a category of LVIS means."""

    id: int
    """From 1 without gaps, in the order of the names."""
    name: str
    synset: str
    definition: str
    synonyms: tuple[str, ...]


_TABLE = """\
bench | bench | bench.n.01 | a long seat for more than one person | bench
camera | camera | camera.n.01 | equipment for taking photographs | camera
cardboard box | carton | carton.n.02 | a container made of cardboard | carton, cardboard_box
cat | cat | cat.n.01 | a domestic house cat | cat
coffee | coffee_(beverage) | coffee.n.01 | a drink made of roasted beans | coffee_(beverage)
coin | coin | coin.n.01 | a flat metal piece used as money | coin
cup | cup | cup.n.01 | a small open container with a handle | cup
eye | eye | eye.n.01 | the organ of sight | eye, oculus
flag | flag | flag.n.01 | emblem usually of cloth | flag
flower | flower_(bloom) | flower.n.02 | the reproductive organ of plants | flower_(bloom), blossom
helmet | helmet | helmet.n.02 | a protective headgear | helmet
motorcycle | motorcycle | motorcycle.n.01 | a vehicle with two wheels and an engine | motorcycle
pagoda | pagoda | pagoda.n.01 | a tower with several storeys and curving roofs | pagoda
person | person | person.n.01 | a human being | person, baby, child, man, woman, human
rocket | rocket_(vehicle) | rocket.n.01 | a vehicle driven by burning gases | rocket_(vehicle)
saucer | saucer | saucer.n.02 | a small shallow dish for a cup | saucer
spoon | spoon | spoon.n.01 | a shallow bowl on a handle, to eat with | spoon
tower | tower | tower.n.01 | a structure taller than its diameter | tower
tree | tree | tree.n.01 | a tall woody plant | tree
tripod | tripod | tripod.n.01 | a rack with three legs | tripod
"""
"""The demo's category, then LVIS's name, synset, definition and synonyms."""


def _read_table() -> dict[str, Sense]:
    senses = {}
    for number, line in enumerate(_TABLE.splitlines(), start=1):
        category, name, synset, definition, synonyms = line.split(" | ")
        senses[category] = Sense(
            id=number,
            name=name,
            synset=synset,
            definition=definition,
            synonyms=tuple(synonyms.split(", ")),
        )
    return senses


SENSES = _read_table()
"""By the demo's category."""
