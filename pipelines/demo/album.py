"""The photographs of the demo, with captions and the outlines of their objects."""

from __future__ import annotations

from pipelines.demo.photographs import Outline, Photograph


def _coin(x: int, y: int, radius: int) -> Outline:
    """Return an octagon about a coin; the segmentation rounds it."""
    near = round(radius * 0.41)
    half = ((radius, near), (near, radius), (-near, radius), (-radius, near))
    corners = [*half, *((-dx, -dy) for dx, dy in half)]
    ring = " ".join(f"{x + dx},{y + dy}" for dx, dy in corners)
    return Outline(category="coin", phrase="ancient coin", rings=ring)


_COINS = (
    "335,44,29 155,51,23 215,51,23 276,52,20 44,54,21 100,56,19 271,119,25 45,124,20 205,124,20 "
    "336,124,19 102,126,19 154,127,19 347,187,32 212,193,24 273,194,22 102,196,22 44,197,19 "
    "154,198,19 46,260,28 172,261,27 301,263,25 244,263,24 114,266,21 358,268,22"
)

ASTRONAUT = Photograph(
    name="astronaut",
    package="skimage",
    file="astronaut.png",
    caption="An astronaut in an orange suit smiles beside a helmet and a model of a shuttle.",
    credit="NASA, portrait of Eileen Collins",
    licence="public domain",
    outlines=(
        Outline(
            category="flag",
            phrase="flag",
            rings="0,0 53,0 64,88 75,135 84,175 96,218 90,260 60,330 40,400 40,470 40,512 0,512",
        ),
        Outline(
            category="rocket",
            phrase="model of a space shuttle",
            rings=(
                "400,0 434,0 437,40 446,40 454,60 455,215 456,232 440,236 455,262 470,275 400,290 "
                "366,275 372,255 380,240 355,220 378,182 380,60 386,42 396,40 395,15"
            ),
        ),
        Outline(
            category="person",
            phrase="astronaut",
            rings=(
                "154,70 165,50 185,35 215,18 240,16 270,25 290,45 301,85 296,110 280,130 268,136 "
                "262,165 258,172 285,190 300,215 305,235 335,255 350,280 356,310 362,350 345,400 "
                "320,512 40,512 25,470 24,430 20,400 22,350 30,310 45,275 65,248 90,225 112,210 "
                "114,186 124,180 130,160 150,150 185,148 183,130 170,118 156,98"
            ),
        ),
        Outline(
            category="helmet",
            phrase="helmet",
            rings=(
                "277,512 277,470 285,430 300,398 325,368 350,353 375,346 410,344 440,352 470,375 "
                "488,405 496,445 505,458 512,480 512,512"
            ),
        ),
    ),
)

CAMERAMAN = Photograph(
    name="cameraman",
    package="skimage",
    file="camera.png",
    caption="A man in a dark coat looks through a camera on a tripod in a park.",
    credit="Lav Varshney",
    licence="CC0 1.0",
    slack=3,
    outlines=(
        Outline(
            category="tower",
            phrase="white tower",
            rings="412,130 431,130 431,188 412,188",
        ),
        Outline(
            category="person",
            phrase="man in a dark coat",
            rings=(
                "0,252 25,222 50,180 70,150 100,130 130,123 155,106 162,105 165,90 180,75 200,64 "
                "225,68 245,80 265,100 270,118 262,132 253,137 252,150 255,168 246,180 243,192 "
                "232,200 245,215 248,245 265,215 275,205 300,210 308,200 312,185 320,170 330,172 "
                "331,198 320,215 308,235 300,250 303,272 290,285 262,305 246,312 225,305 206,292 "
                "190,320 165,355 142,380 147,410 150,450 151,512 140,512 120,475 100,447 95,470 "
                "90,512 0,512"
            ),
        ),
        Outline(
            category="tripod",
            phrase="tripod",
            rings=(
                "273,186 300,186 298,202 297,216 297,486 288,486 288,216 278,205; "
                "278,312 305,312 314,326 392,485 406,512 399,512 382,488 306,345 286,345 "
                "252,480 240,512 230,512 245,470 280,332"
            ),
        ),
        Outline(
            category="camera",
            phrase="camera",
            rings=(
                "254,140 270,140 295,141 320,139 325,147 323,156 319,160 319,180 300,184 275,183 "
                "262,178 260,168 254,150"
            ),
        ),
    ),
)

CAT = Photograph(
    name="cat",
    package="skimage",
    file="chelsea.png",
    caption="A tabby cat looks at something beside the camera.",
    credit="Stefan van der Walt",
    licence="CC0 1.0",
    outlines=(
        Outline(
            category="cat",
            phrase="tabby cat",
            rings=(
                "38,0 33,50 28,115 5,125 0,135 0,300 310,300 300,262 308,250 320,225 340,200 "
                "358,160 362,110 352,80 370,70 385,30 395,0"
            ),
        ),
        Outline(
            category="eye",
            phrase="green eye",
            rings=(
                "136,105 140,92 155,86 175,87 195,95 205,110 206,130 198,140 180,145 160,142 "
                "145,130"
            ),
        ),
        Outline(
            category="eye",
            phrase="green eye",
            rings="296,145 300,128 312,113 328,109 340,115 341,135 335,152 318,163 300,161",
        ),
    ),
)

ESPRESSO = Photograph(
    name="espresso",
    package="skimage",
    file="coffee.png",
    caption="A cup of espresso and a spoon on a red saucer on a wooden table.",
    credit="Rachel Michetti, courtesy of Pikolo Espresso Bar",
    licence="CC0 1.0",
    outlines=(
        Outline(
            category="saucer",
            phrase="red saucer",
            rings=(
                "178,72 150,85 115,115 92,150 80,190 77,225 84,270 105,310 140,345 190,372 240,385 "
                "300,389 360,380 410,357 450,320 473,275 479,225 473,185 450,145 418,108 390,90"
            ),
        ),
        Outline(
            category="spoon",
            phrase="silver spoon",
            rings=(
                "404,68 415,67 424,78 420,100 410,125 400,165 392,195 386,215 385,232 400,250 "
                "406,275 398,305 375,322 355,325 335,313 327,290 330,265 345,250 370,238 376,215 "
                "385,195 396,150 404,110 398,90 398,75"
            ),
        ),
        Outline(
            category="cup",
            phrase="cup",
            rings=(
                "173,105 178,85 195,55 225,32 260,20 290,17 330,23 365,40 392,65 405,100 406,125 "
                "400,155 394,180 385,205 374,226 345,243 320,265 290,282 262,280 250,272 235,300 "
                "218,308 200,298 197,280 205,255 220,237 195,215 180,180 174,140"
            ),
        ),
        Outline(
            category="coffee",
            phrase="coffee",
            rings=(
                "205,145 215,120 235,102 275,95 310,96 345,108 365,130 370,155 345,180 310,192 "
                "280,193 245,185 215,165"
            ),
        ),
    ),
)

COINS = Photograph(
    name="coins",
    package="skimage",
    file="coins.png",
    caption="Four rows of ancient coins.",
    credit="Brooklyn Museum, Greek coins from Pompeii",
    licence="no known copyright restrictions",
    outlines=tuple(_coin(*map(int, coin.split(","))) for coin in _COINS.split()),
)

MOTORCYCLE = Photograph(
    name="motorcycle",
    package="skimage",
    file="motorcycle_left.png",
    caption="A red motorcycle in a garage, in front of a bench and shelves.",
    credit="D. Scharstein et al., Middlebury 2014 stereo benchmark",
    licence="as shipped with scikit-image",
    outlines=(
        Outline(
            category="bench",
            phrase="wooden bench",
            rings=(
                "47,112 275,106 279,115 278,185 300,190 240,200 150,195 92,200 97,215 110,240 "
                "65,280 57,306 46,306 42,192 52,185"
            ),
        ),
        Outline(
            category="cardboard box",
            phrase="cardboard box",
            rings="529,35 585,28 593,35 590,98 560,105 530,100",
        ),
        Outline(
            category="cardboard box",
            phrase="cardboard box",
            rings="592,66 610,62 637,70 634,98 592,98",
        ),
        Outline(
            category="cardboard box",
            phrase="cardboard box",
            rings="617,185 688,180 684,275 620,272 612,255",
        ),
        Outline(
            category="motorcycle",
            phrase="red motorcycle",
            rings=(
                "92,200 125,195 148,192 138,165 145,150 160,145 168,160 200,163 240,170 262,180 "
                "300,190 325,188 357,190 385,178 385,165 356,172 362,160 385,142 405,128 425,122 "
                "445,140 465,135 475,122 495,115 505,100 492,85 495,75 515,80 522,95 540,100 "
                "530,115 548,122 560,140 562,160 552,180 540,188 552,195 560,215 580,260 600,267 "
                "625,280 643,302 632,315 650,330 670,360 683,395 683,425 670,445 640,454 605,445 "
                "570,425 540,395 520,360 512,330 505,328 508,300 520,280 528,270 515,240 505,225 "
                "480,240 475,260 478,300 470,335 450,370 420,380 380,375 337,372 335,400 338,425 "
                "345,430 325,436 328,410 325,380 310,360 275,360 262,380 235,398 205,402 175,395 "
                "145,370 128,340 121,310 125,280 140,255 160,240 140,235 118,245 100,240 112,225 "
                "95,212"
            ),
        ),
    ),
)

ROCKET = Photograph(
    name="rocket",
    package="skimage",
    file="rocket.jpg",
    caption="A rocket stands on its launch pad at dusk between four lattice towers.",
    credit="SpaceX, DSCOVR on Falcon 9",
    licence="public domain",
    outlines=(
        Outline(
            category="tower",
            phrase="lattice tower",
            rings="52,0 88,0 84,100 80,250 75,427 0,427 5,350 15,280 30,170 45,60",
        ),
        Outline(
            category="tower",
            phrase="lattice tower",
            rings="198,124 204,124 203,190 203,300 202,427 165,427 172,340 182,250 188,200 197,192",
        ),
        Outline(
            category="tower",
            phrase="lattice tower",
            rings="443,123 449,123 455,190 458,225 470,310 478,427 440,427 441,300 442,200 445,190",
        ),
        Outline(
            category="tower",
            phrase="lattice tower",
            rings="560,0 600,0 612,60 630,190 640,250 640,427 580,427 572,300 566,150",
        ),
        Outline(
            category="rocket",
            phrase="rocket",
            rings=(
                "311,150 313,138 318,128 323,126 328,130 333,143 334,175 334,230 333,300 332,405 "
                "313,405 311,300 310,230 310,180"
            ),
        ),
    ),
)

PAGODA = Photograph(
    name="pagoda",
    package="sklearn",
    file="china.jpg",
    caption="A red pagoda with three roofs stands among trees above a lake.",
    credit="danielbuechele on Flickr",
    licence="CC BY 2.0",
    outlines=(
        Outline(
            category="pagoda",
            phrase="pagoda",
            rings=(
                "196,30 205,28 215,32 213,48 218,60 240,80 265,97 300,110 320,122 305,135 294,140 "
                "294,160 328,172 325,180 318,190 320,225 328,230 325,240 345,250 352,258 342,270 "
                "342,300 350,310 348,322 372,335 370,345 350,355 335,372 325,400 320,427 290,427 "
                "285,390 240,390 215,385 200,360 165,355 158,340 100,338 75,330 75,315 82,310 "
                "82,285 63,272 70,258 95,245 100,232 98,190 84,178 86,168 115,160 120,150 118,140 "
                "97,128 95,112 120,100 150,95 180,75 192,62 198,48"
            ),
        ),
        Outline(
            category="tree",
            phrase="trees",
            rings=(
                "550,215 555,200 575,180 578,150 590,138 605,135 625,145 640,160 640,427 330,427 "
                "345,370 375,340 400,320 440,305 490,295 520,280 545,272 555,275 552,240"
            ),
        ),
        Outline(
            category="tree",
            phrase="trees",
            rings=(
                "0,290 20,295 25,310 45,330 75,340 100,345 140,335 160,345 165,358 200,365 215,385 "
                "250,393 280,390 300,420 298,427 0,427"
            ),
        ),
        Outline(
            category="tree",
            phrase="branch of a tree",
            rings="0,150 5,180 40,190 60,220 75,235 60,250 35,258 20,275 0,270",
        ),
    ),
)

DAHLIA = Photograph(
    name="dahlia",
    package="sklearn",
    file="flower.jpg",
    caption="An orange dahlia in front of dark leaves.",
    credit="vultilion on Flickr",
    licence="CC BY 2.0",
    outlines=(
        Outline(
            category="flower",
            phrase="orange dahlia",
            rings=(
                "170,215 178,180 188,150 205,125 225,112 250,98 285,95 315,85 345,92 380,103 "
                "405,118 425,145 432,175 443,205 443,230 430,265 420,290 405,315 380,335 345,350 "
                "310,358 280,355 245,345 215,320 195,300 178,265"
            ),
        ),
        Outline(
            category="flower",
            phrase="orange dahlia",
            rings=(
                "290,405 300,395 325,390 335,380 350,375 372,385 390,380 410,382 435,385 442,415 "
                "465,427 293,427"
            ),
        ),
        Outline(
            category="flower",
            phrase="flower bud",
            rings="580,410 590,396 608,397 616,410 610,427 575,427",
        ),
    ),
)

MOON = Photograph(
    name="moon",
    package="skimage",
    file="moon.png",
    caption="Craters on the surface of the moon.",
    credit="scikit-image",
    licence="as shipped with scikit-image",
)

ALBUM = (
    ASTRONAUT,
    CAT,
    ESPRESSO,
    MOTORCYCLE,
    CAMERAMAN,
    COINS,
    PAGODA,
    ROCKET,
    DAHLIA,
    MOON,
)
