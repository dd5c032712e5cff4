"""Words that define PhraseCut's subsets.

Source: ``utils/subset.py`` of ChenyunWu/PhraseCutDataset, commit 876bcc5.
"""

from __future__ import annotations

from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES


def _words(text: str) -> frozenset[str]:
    return frozenset(" ".join(word.split()) for word in text.split(","))


COCO_NAMES: frozenset[str] = frozenset(c["name"] for c in COCO_CATEGORIES if c["isthing"])
"""The names of COCO's 80 thing classes."""

STUFF_NAMES = _words("""
    banner, beach, blanket, branch, brick, bridge, building, bush, cabinet, cage, cardboard, carpet, ceiling, cloth,
    cloud, counter, cupboard, curtain, desk, dirt, door, fence, field, floor, fog, food, forest, grass, gravel,
    ground, hill, house, leaf, leaves, light, mat, metal, mirror, moss, mountain, mud, napkin, net, ocean, paper,
    pavement, plant, plastic, platform, rail, railing, reflection, river, road, rock, roof, rug, salad, sand, sea,
    shadow, shelf, sidewalk, sky, skyscraper, snow, solid, stairs, stone, straw, street, table, tent, textile,
    towel, tree, vegetable, vegetation, wall, water, waterdrops, wave, window, wood
""")
"""A category is stuff if its name contains one of these; "seat", which contains "sea", therefore is."""

ATTRIBUTE_KINDS: dict[str, frozenset[str]] = {
    "a_color": _words("""
        beige, black, black and white, blond, blonde, blue, blue and white, bright, bright blue, brown, colored,
        colorful, cream colored, dark, dark blue, dark brown, dark colored, dark gray, dark green, dark grey,
        evergreen, gold, golden, gray, green, grey, light blue, light brown, light colored, light green, light grey,
        light skinned, maroon, multi colored, multi-colored, multicolored, murky, navy, navy blue, orange, pink,
        purple, red, red and white, silver, tan, teal, turquoise, white, yellow
    """),
    "a_shape": _words("""
        arched, bent, big, chain link, chopped, circle, circular, cream, crossed, curled, curly, curved, cut,
        extended, fat, flat, giant, grassy, high, horizontal, huge, large, larger, little, long, metallic, narrow,
        oval, patchy, piece, piled, pointed, pointing, pointy, rectangle, rectangular, round, rounded, row,
        scattered, shallow, sharp, short, skinny, slanted, slice, sliced, small, smaller, sparse, square, stacked,
        straight, tall, thick, thin, tied, tilted, tiny, triangular, upright, upside down, vertical, wide, wispy
    """),
    "a_material": _words("""
        asphalt, brick, bricked, cardboard, cement, ceramic, chocolate, chrome, clay, cloudy, concrete, denim, dirt,
        fluffy, foamy, furry, glass, granite, grass, gravel, hardwood, iron, khaki, leafy, leather, marble, metal,
        muddy, paper, plastic, porcelain, red brick, rock, rocky, rubber, sand, sandy, snow covered, snow-covered,
        snowy, stainless steel, steel, stone, tile, tiled, water, wicker, wood, wooden
    """),
    "a_texture": _words("""
        blurred, blurry, checkered, choppy, clean, clear, cloudless, dirty, dry, dusty, faded, floral, foggy,
        frosted, fuzzy, glazed, hazy, lined, painted, patterned, paved, plaid, printed, reflected, reflecting,
        reflective, rippled, rough, rusted, rusty, shining, shiny, smooth, splashing, spotted, striped, transparent,
        wet, worn, wrinkled
    """),
    "a_state": _words("""
        attached, bending, breaking, broken, burnt, calm, close, closed, covered, cracked, crashing, crouched,
        crouching, cutting, dressed, dried, drinking, driving, eating, empty, floating, flying, folded, fried, full,
        grazing, hanging, held, holding, illuminated, jumping, kneeling, laying, leaning, looking, lying, melted,
        moving, off, on, open, opened, outstretched, parked, parking, playing, playing tennis, posing, raised,
        reading, resting, riding, rolled up, rolling, running, seated, sitting, sitting down, skateboarding,
        skating, skiing, sleeping, snowboarding, squatting, standing, standing up, stopped, surfing, swimming,
        swinging, talking, trimmed, turned, turning, waiting, walking, watching, wrapped
    """),
    "a_adj": _words("""
        airborne, american, asian, bald, bare, barefoot, beautiful, bushy, busy, carpeted, cast, cooked, cute, dead,
        decorated, decorative, deep, delicious, designed, different, digital, displayed, double decker, edge,
        electric, electrical, fake, female, filled, flat screen, floppy, framed, fresh, grilled, growing, hairy,
        happy, hard, healthy, heavy, leafless, light, lit, long sleeve, long sleeved, lush, male, manicured, modern,
        new, nice, old, older, ornate, overcast, overgrown, pale, palm, part, partial, pictured, plain, potted,
        pretty, puffy, ripe, shirtless, short sleeved, sleeveless, smiling, soft, stuffed, sunny, toasted, wavy,
        wild, wire, written, young
    """),
    "a_noun": _words("""
        adult, apple, baby, baseball, bathroom, burgundy, city, clock, coffee, computer, fire, flower, ground,
        kitchen, man, man's, nike, ocean, passenger, patch, pine, pizza, power, ski, snow, stop, straw, street,
        teddy, tennis, tennis player, toy, traffic, train, tree, wall, window, wine, woman, woman's
    """),
    "a_loc": _words("""
        above, back, background, behind, bottom, distant, down, far, in air, in background, in distance, in the
        background, inside, low, outdoor, outdoors, overhead, rear, side, top, up
    """),
    "a_count": _words("""
        alone, bunch, double, four, group, grouped, many, one, pair, set, several, single, three, together
    """),
    "a_bad": _words("daytime, existing, here, in picture, in the picture, made, present, ready, some, wearing"),
}
"""Attributes by kind: colour, shape, material, texture, state, other adjectives, nouns, places, numbers, others."""
